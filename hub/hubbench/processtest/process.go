package processtest

import (
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// roleVariable is the environment variable that has a process's role.
const roleVariable = "EDGEKIT_TEST_ROLE"

// Role is this process's role; empty in the parent.
func Role() string { return os.Getenv(roleVariable) }

// service is the name under which net/rpc knows what a process serves.
const service = "Process"

// stdio is both ends of a child's pipe, from the child's view.
type stdio struct {
	io.Reader
	io.WriteCloser
}

// Serve lets the parent call the methods of v, until the parent ends. It returns the exit
// status.
func Serve(v any) int {
	s := rpc.NewServer()
	if err := s.RegisterName(service, v); err != nil {
		fmt.Fprintln(os.Stderr, "processtest:", Role(), err)
		return 1
	}
	s.ServeConn(stdio{os.Stdin, os.Stdout})
	return 0
}

// Config says which process to start. Only Role is required.
type Config struct {
	Role string   // what Role returns in the child
	By   []string // a command that runs another one, such as ip netns exec
	Args []string // of the test binary
	Env  []string // added to the environment
}

// Process is a child as its parent sees it. A failure ends the test.
type Process struct {
	t    testing.TB
	Role string
	cmd  *exec.Cmd
	rpc  *rpc.Client
}

// Start starts a child, which ends with the test at the latest.
func Start(t testing.TB, cfg Config) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := slices.Concat(cfg.By, []string{self}, cfg.Args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = slices.Concat(os.Environ(), []string{roleVariable + "=" + cfg.Role}, cfg.Env)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, Role: cfg.Role, cmd: cmd, rpc: rpc.NewClient(stdio{out, in})}
	t.Cleanup(p.Kill)
	return p
}

// Call calls a method of the child and waits for its reply.
func (p *Process) Call(method string, args, reply any) {
	p.t.Helper()
	if err := p.rpc.Call(service+"."+method, args, reply); err != nil {
		p.t.Fatalf("%s: %s: %v", p.Role, method, err)
	}
}

// Kill ends the child as a power cut would. Twice does nothing.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.rpc.Close()
	_ = p.cmd.Wait()
}

// Resident is the child's memory in bytes, as the kernel counts it.
func (p *Process) Resident() int64 {
	p.t.Helper()
	fields := p.stat("statm")
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// Busy is the CPU time that the child has used, in user and system mode.
func (p *Process) Busy() time.Duration {
	p.t.Helper()
	fields := p.stat("stat")
	ticks := int64(0) // of 10 ms: USER_HZ is 100 on every platform of Linux that Go knows
	for _, f := range fields[13:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// stat returns the fields of a file under /proc of the child. The program's name
// has no spaces.
func (p *Process) stat(file string) []string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Fields(string(b))
}
