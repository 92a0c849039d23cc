// Go's runtime reserves its heap at 0xc000000000 before the first line of this runs.
package main

import "fmt"

func main() {
	object := new([1 << 16]byte)
	fmt.Printf("hello from %p\n", object)
}
