# Prints the rows of ci/matrix/run as a table, as text or (format=markdown) as Markdown. Ends with 1 when one of them is not "passed".

BEGIN { line("kernel", "root", "user", "engine", "host", "passed", "skipped", "failed"); if (format == "markdown") print "|---|---|---|---|---|---|---|---|" }
function line(kernel, root, user, engine, host, passed, skipped, failed) {
    if (format == "markdown") print "| " kernel " | " root " | " user " | " engine " | " host " | " passed " | " skipped " | " failed " |"
    else printf "%-27s %-8s %-5s %-9s %-11s %6s  %-24s %s\n", kernel, root, user, engine, host, passed, skipped, failed
}
$1 == "row" {
    why = $8 > 0 ? $8 " (" $11 ")" : $8
    line($2, $3, $4, $5, $6, $7, why, $9 ($10 == "passed" ? "" : " " $10))
    if ($10 != "passed") bad = 1
    rows++
}
END { exit bad || !rows }
