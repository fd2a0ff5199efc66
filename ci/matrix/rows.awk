# Reads what a guest of ci/matrix/run printed; writes a line for its kernel and one for each cell, fields apart by tabs:
# row, kernel, root, user, engine, host, passed, skipped, failed, verdict, reasons.

/^KERNEL / { kernel = $2; print "kernel\t" $2 "\t" $3; next }
/^CELL / { cell = $2 "\t" ($3 == 0 ? "root" : $3) "\t" $4 "\t" $5; passed = failed = skipped = 0; reasons = ""; split("", skips); split("", said); next }
# A test that was skipped passes; its line says which one it is. A reason is said once.
/^SKIP: / {
    test = $0; sub(/.*\(/, "", test); sub(/\)$/, "", test); skips[test] = 1
    why = $0; sub(/^SKIP: needs /, "", why); sub(/ \([a-z_]*::[a-z_0-9:]*\)$/, "", why)
    if (!(why in said)) { said[why] = 1; reasons = reasons (reasons == "" ? "" : "; ") why }
    next
}
/^test .* \.\.\. ok$/ { if ($2 in skips) skipped++; else passed++; next }
/^test .* \.\.\. FAILED$/ { failed++; next }
/^END / {
    verdict = $2 != 0 || failed > 0 ? "failed" : passed == 0 ? "nothing ran" : "passed"
    print "row\t" kernel "\t" cell "\t" passed "\t" skipped "\t" failed "\t" verdict "\t" reasons
}
