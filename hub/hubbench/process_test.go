package hubbench_test

import (
	"errors"
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

// roleVariable makes this test binary one of the other processes of a fleet:
// it then serves calls of net/rpc on its standard input and output, and ends
// when the input does, so that none outlives the test.
const roleVariable = "HUBBENCH_ROLE"

// stdio is both ends of a child's pipe, from the child's view.
type stdio struct {
	io.Reader
	io.WriteCloser
}

// play is main of a child.
func play(role string) int {
	s := rpc.NewServer()
	var err error
	switch role {
	case "cloud":
		err = s.RegisterName("Cloud", &cloud{})
	case "crew":
		err = s.RegisterName("Crew", &crew{})
	default:
		err = errors.New("no such role")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hubbench:", role, err)
		return 1
	}
	s.ServeConn(stdio{os.Stdin, os.Stdout})
	return 0
}

// process is a child as its parent sees it.
type process struct {
	t    testing.TB
	role string
	cmd  *exec.Cmd
	rpc  *rpc.Client
}

// launch starts a child, which ends with the test at the latest. env is added
// to the environment.
func launch(t testing.TB, role string, env ...string) *process {
	t.Helper()
	return launchIn(t, nil, role, env...)
}

// launchIn starts a child by a command that runs another one, such as ip netns
// exec.
func launchIn(t testing.TB, by []string, role string, env ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := append(slices.Clone(by), self)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
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
	p := &process{t: t, role: role, cmd: cmd, rpc: rpc.NewClient(stdio{out, in})}
	t.Cleanup(p.kill)
	return p
}

// call has the child do something and waits for it.
func (p *process) call(method string, args, reply any) {
	p.t.Helper()
	if err := p.rpc.Call(strings.ToUpper(p.role[:1])+p.role[1:]+"."+method, args, reply); err != nil {
		p.t.Fatalf("%s: %s: %v", p.role, method, err)
	}
}

// kill ends the child as a power cut would. Twice does nothing.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.rpc.Close()
	_ = p.cmd.Wait()
}

// resident is the child's memory in bytes, as the kernel counts it.
func (p *process) resident() int64 {
	p.t.Helper()
	fields := p.stat("statm")
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// busy is how long the child has used a core, itself and the kernel for it.
func (p *process) busy() time.Duration {
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

// stat gives the fields of a file under /proc of the child. The program's name
// has no spaces.
func (p *process) stat(file string) []string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Fields(string(b))
}
