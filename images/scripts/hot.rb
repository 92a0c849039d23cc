# Fills the heap with strings and computes.
kept = Array.new(60_000) { |i| i.to_s * 8 }
sum = 0
100_000.times { |i| sum = (sum * 31 + i) % 1_000_003 }
puts "computed #{sum} with #{kept.size} strings"
