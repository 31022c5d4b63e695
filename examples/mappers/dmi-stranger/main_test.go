package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"

	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	generated "github.com/edgekit/edgekit/examples/mappers/dmi-stranger/dmi"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// role is set in the processes that a test starts: "edgecore FOLDER" or "mapper FOLDER".
const role = "DMI_STRANGER_ROLE"

func TestMain(m *testing.M) {
	switch kind, dir, _ := strings.Cut(os.Getenv(role), " "); kind {
	case "edgecore":
		if err := edgecore(dir); err != nil {
			fmt.Fprintln(os.Stderr, "edgecore:", err)
			os.Exit(1)
		}
	case "mapper":
		os.Args = []string{"dmi-stranger", "--socket", filepath.Join(dir, "mapper.sock"), "--edgecore", filepath.Join(dir, "dmi.sock"), "--every", "20ms"}
		main()
	default:
		os.Exit(m.Run())
	}
}

// edgecore is the device part of edgecore. It prints "actual VALUE" for each value of the
// property target, and each line of its input becomes the desired one.
func edgecore(dir string) error {
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		return err
	}
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		return err
	}
	m, err := dmi.New(dmi.Config{Engine: engine, Store: store, Socket: filepath.Join(dir, "dmi.sock")})
	if err != nil {
		return err
	}
	ctx := context.Background()
	ended := make(chan error, 2)
	go func() { ended <- engine.Run(ctx) }()
	go func() { ended <- m.Run(ctx) }()
	select {
	case <-engine.Ready():
	case err := <-ended:
		return err
	}
	put, err := devicespec.Declare(schema.DeviceSpec{
		ModelRef: schema.ModelRef{Name: "model"}, Protocol: schema.Protocol{Name: "made-up"}, Properties: []schema.Property{{Name: "target"}},
	}, schema.DeviceModelSpec{Properties: []schema.ModelProperty{{Name: "target", Type: schema.TypeInt, AccessMode: schema.ReadWrite, DesiredBy: schema.DesiredByBoth}}})
	if err = errors.Join(err, engine.Put(ctx, "plant/boiler", put)); err != nil {
		return err
	}
	engine.Subscribe(func(twin.Commit) {
		if d, _ := engine.Device("plant/boiler"); d.Twins["target"].Actual != nil {
			fmt.Println("actual", d.Twins["target"].Actual.Value)
		}
	})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := engine.SetDesired(ctx, "plant/boiler", map[string]string{"target": lines.Text()}); err != nil {
			return err
		}
		fmt.Println("desired", lines.Text())
	}
	return nil
}

// process is a process of a test.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at its end
	done  sync.WaitGroup
}

func startProcess(t *testing.T, kind, dir string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1)}
	p.cmd.Env = append(os.Environ(), role+"="+kind+" "+dir)
	p.cmd.Stderr = t.Output()
	var err1, err2 error
	var out io.ReadCloser
	p.in, err1 = p.cmd.StdinPipe()
	out, err2 = p.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, p.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	p.done.Go(func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case <-p.lines: // nobody reads: the newest counts
			default:
			}
			p.lines <- lines.Text()
		}
	})
	t.Cleanup(p.kill)
	return p
}

// kill kills the process with SIGKILL. A second call does nothing.
func (p *process) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Kill()
	p.done.Wait()
	_ = p.cmd.Wait()
}

// wait waits until the process prints a line.
func (p *process) wait(line string) {
	p.t.Helper()
	for got := range p.lines {
		if got == line {
			return
		}
	}
	p.t.Fatalf("the process has ended before it printed %q", line)
}

// TestKill kills edgecore and a mapper that knows nothing of edgekit with kill -9, in any order
// and both at once. The device always comes to have what was desired last.
func TestKill(t *testing.T) {
	dir, err := os.MkdirTemp("", "dmi") // the path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m, e := startProcess(t, "mapper", dir), startProcess(t, "edgecore", dir)
	random := rand.New(rand.NewPCG(17, 1))
	for round := range 10 {
		desired := fmt.Sprint(100 + round)
		if _, err := fmt.Fprintln(e.in, desired); err != nil {
			t.Fatal(err)
		}
		switch random.IntN(4) {
		case 0: // the mapper may or may not have it by now
			m.kill()
			m = startProcess(t, "mapper", dir)
		case 1:
			e.wait("actual " + desired)
			m.kill()
			m = startProcess(t, "mapper", dir)
			desired += "0"
			if _, err := fmt.Fprintln(e.in, desired); err != nil {
				t.Fatal(err)
			}
		case 2: // edgecore has it for certain
			e.wait("actual " + desired)
			e.kill()
			e = startProcess(t, "edgecore", dir)
		case 3:
			e.wait("actual " + desired)
			e.kill()
			m.kill()
			e = startProcess(t, "edgecore", dir)
			m = startProcess(t, "mapper", dir)
		}
		e.wait("actual " + desired)
	}
}

// TestGenerated compares the generated code with dmi.proto: run go generate when it fails.
func TestGenerated(t *testing.T) {
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"../../../device/dmi/v1beta1"}})}
	files, err := c.Compile(t.Context(), "dmi.proto")
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(protodesc.ToFileDescriptorProto(generated.File_dmi_proto), protodesc.ToFileDescriptorProto(files[0])) {
		t.Error("the code is not that of dmi.proto: run go generate in this folder")
	}
}
