package child_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus/pipeline/child"
)

// behaviour is the variable by which this test binary is one of the programs below.
const behaviour = "CHILD_TEST_BEHAVIOUR"

func TestMain(m *testing.M) {
	switch os.Getenv(behaviour) {
	case "":
		goleak.VerifyTestMain(m)
	case "serve": // connects to the socket in its argument and lives as long as its stdin
		report(os.Args[1])
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "stubborn": // does not end for SIGTERM, nor at the end of its stdin
		signal.Ignore(syscall.SIGTERM)
		report(os.Args[1])
		select {}
	case "crash":
		fmt.Println(`{"time":"2026-01-01T00:00:00Z","level":"ERROR","msg":"cannot go on","reason":"test\u001b[31m"}`)
		fmt.Fprintln(os.Stderr, "panic: no")
		os.Exit(3)
	case "flood":
		w := bufio.NewWriter(os.Stdout)
		for i := range 5000 {
			fmt.Fprintf(w, "line %d\n", i)
		}
		w.Flush()
		os.Exit(3)
	case "parent": // runs a stubborn child
		c, err := child.New(child.Config{Program: os.Args[0], Args: os.Args[1:], Env: []string{behaviour + "=stubborn"}})
		if err != nil {
			panic(err)
		}
		_ = c.Run(context.Background())
	}
}

// report connects to a socket: its other end sees when this program ends.
func report(socket string) {
	conn, err := net.DialTimeout("unix", socket, 10*time.Second)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(conn, "%d\n", os.Getpid())
}
