# Fills a hash with strings and computes.
use strict;
use warnings;
my (%kept, $sum);
$kept{$_} = $_ x 8 for 1 .. 40_000;
$sum = (($sum // 0) * 31 + $_) % 1_000_003 for 0 .. 99_999;
print "computed $sum with ", scalar(keys %kept), " strings\n";
