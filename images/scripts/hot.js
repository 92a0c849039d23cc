// A loop that is worth compiling, and 16 MiB of objects.
function hash(count) {
  let sum = 0;
  for (let i = 0; i < count; i++) sum = (sum * 31 + i) % 1000003;
  return sum;
}
const kept = [];
for (let i = 0; i < 256; i++) kept.push(new Float64Array(8192).fill(i));
console.log(`computed ${hash(1000000)} with ${kept.length} arrays`);
