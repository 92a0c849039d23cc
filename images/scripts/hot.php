<?php
// A loop that is worth compiling. It fails if the just-in-time compiler is not on.
function mix(int $count): int {
    $sum = 0;
    for ($i = 0; $i < $count; $i++) {
        $sum = ($sum * 31 + $i) % 1000003;
    }
    return $sum;
}
$sum = mix(1000000);
if (!opcache_get_status()['jit']['on']) {
    fwrite(STDERR, "the just-in-time compiler is off\n");
    exit(1);
}
echo "computed $sum\n";
