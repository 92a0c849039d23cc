// Serves HTTP on a port of the loopback interface, and is its own first client: it prints "served"
// when it has answered a request whose body took 8 MiB of the heap.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

func answer(out http.ResponseWriter, _ *http.Request) {
	blocks := make([]string, 0, 128)
	for i := range 128 {
		blocks = append(blocks, strings.Repeat(string(rune('a'+i%26)), 1<<16))
	}
	for _, block := range blocks {
		io.WriteString(out, block)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	check(err)
	failed := make(chan error)
	go func() { failed <- http.Serve(listener, http.HandlerFunc(answer)) }()
	response, err := http.Get("http://" + listener.Addr().String())
	check(err)
	size, err := io.Copy(io.Discard, response.Body)
	check(err)
	fmt.Println("served", size, "bytes")
	check(<-failed)
}
