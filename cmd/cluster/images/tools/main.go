// Command tools is a pod to look into: it talks, listens and has the programs
// that kubectl cp expects to find. The name by which it is called, or else its
// first argument, says what it does.
//
//	          says "tick N" every 200 ms, echoes what it reads, serves an echo on port 7000
//	tar       packs and unpacks as kubectl cp asks for
//	test      test -d PATH
//	console   prints the size of its terminal at each change, and each line of its input; "exit N" ends it
//	sum       the SHA-256 of a file
//	make      writes so many random bytes into a file
//	flood     writes for ever
//	burn      keeps a processor busy
//	idle      waits for ever
//	stamp     appends the time to a file every 100 ms, and minds no SIGTERM
//	volume    makes or removes the folder of a volume, as local-path-provisioner asks: -p PATH -a create, -a delete
//	health    answers gRPC health checks on port 7001: SERVING
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if name == "tools" && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	err := run(name, args)
	if code, ok := errors.AsType[exitCode](err); ok {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// exitCode ends the program with itself.
type exitCode int

func (e exitCode) Error() string { return "exit " + strconv.Itoa(int(e)) }

func run(name string, args []string) error {
	switch name {
	case "tar":
		return tarCommand(args, os.Stdin, os.Stdout)
	case "test":
		return test(args)
	case "console":
		return console(os.Stdin, os.Stdout)
	case "sum":
		return sum(args, os.Stdout)
	case "make":
		return random(args)
	case "flood":
		return flood(os.Stdout)
	case "burn":
		for sum := sha256.Sum256(nil); ; {
			sum = sha256.Sum256(sum[:])
		}
	case "idle":
		return idle()
	case "stamp":
		return stamp(args)
	case "volume":
		return volume(args)
	case "health":
		return health()
	}
	return talk()
}

// talk is the pod's own program.
func talk() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", ":7000")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go serve(l)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			fmt.Println("heard", in.Text())
		}
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			fmt.Println("tick", n)
		}
	}
}

// serve sends back what clients send, until they close their half.
func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // a client that goes ends it
		}()
	}
}

func test(args []string) error {
	if len(args) != 2 || args[0] != "-d" {
		return errors.New("usage: test -d PATH")
	}
	if info, err := os.Stat(args[1]); err != nil || !info.IsDir() {
		return exitCode(1)
	}
	return nil
}

func console(in io.Reader, out io.Writer) error {
	changed := make(chan os.Signal, 8)
	signal.Notify(changed, syscall.SIGWINCH)
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	fmt.Fprintln(out, "console", size())
	for {
		select {
		case <-changed:
			fmt.Fprintln(out, "size", size())
		case line, ok := <-lines:
			if !ok {
				fmt.Fprintln(out, "end of input")
				return nil
			}
			if code, is := strings.CutPrefix(line, "exit "); is {
				n, err := strconv.Atoi(code)
				if err != nil {
					return err
				}
				return exitCode(n)
			}
			fmt.Fprintln(out, "heard", line)
		}
	}
}

func sum(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: sum FILE")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%x\n", h.Sum(nil))
	return err
}

func random(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: make FILE BYTES")
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, rand.Reader, n); err != nil {
		return err
	}
	return f.Close()
}

func flood(out io.Writer) error {
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for {
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
}

func idle() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return nil
}
