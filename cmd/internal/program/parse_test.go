package program

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// checkCLI has each kind of rule that check knows.
type checkCLI struct {
	Common
	Mode  string   `enum:"fast,slow" default:"fast"`
	Kinds []string `enum:"a,b" default:"a"`

	One   testLeaf `cmd:""`
	Group struct {
		Two   testLeaf `cmd:""`
		Three testLeaf `cmd:""`
		Four  testLeaf `cmd:"" hidden:""`
	} `cmd:""`
	Single struct {
		Only testLeaf `cmd:""`
	} `cmd:""`
	Flags struct {
		testLeaf
		Cloud string `required:""`
		Token string `required:"" xor:"token"`
		File  string `required:"" xor:"token"`
		Left  bool   `xor:"side"`
		Right bool   `xor:"side"`
		Size  string `required:"" enum:"s,m"`
	} `cmd:""`
	Args struct {
		testLeaf
		Kind  string `arg:"" enum:"pod"`
		Name  string `arg:""`
		Other string `arg:"" optional:""`
	} `cmd:""`
	List struct {
		testLeaf
		Name   string   `arg:""`
		Values []string `arg:"" passthrough:""`
	} `cmd:""`
}

type testLeaf struct{}

func (*testLeaf) Run(out Output) error {
	_, err := out.Write([]byte("ran"))
	return err
}

// TestCheckIsKongs compares what parse accepts and how it refuses the rest with kong's Parse.
func TestCheckIsKongs(t *testing.T) {
	for _, line := range []string{
		"", "one", "one --mode=slow", "one --mode=none", "one --kinds=a,b", "one --kinds=a,c", "one more", "on", "one --nothing",
		"group", "group two", "group four", "group five", "single", "single only", "one --config=/nowhere.yaml", "one --log-format=xml",
		"flags", "flags --cloud=a", "flags --cloud=a --size=s", "flags --cloud=a --size=s --token=b", "flags --cloud=a --size=s --file=b",
		"flags --cloud=a --size=s --token=b --file=c", "flags --token=b --size=s", "flags --cloud=a --size=l --token=b",
		"flags --cloud=a --token=b", "flags --cloud=a --size=s --token=b --left", "flags --cloud=a --size=s --token=b --left --right",
		"args", "args pod", "args pod name", "args pod name other", "args pod name other more", "args node", "args node name",
		"list", "list name", "list name v", "list name -- -v w",
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Fields(line)
			parser, err := kong.New(&checkCLI{}, kong.Name("prog"), kong.DefaultEnvars("PROG"), kong.Configuration(loadYAML("prog")))
			if err != nil {
				t.Fatal(err)
			}
			_, want := parser.Parse(args)
			var out, errs bytes.Buffer
			p := Program{Name: "prog", CLI: &checkCLI{}, ConfigFile: filepath.Join(t.TempDir(), "absent.yaml"), Stdout: &out, Stderr: &errs}
			code := p.Run(t.Context(), args)
			if want == nil {
				if code != exitOK || out.String() != "ran" {
					t.Errorf("exit %d, %q %q, want success", code, out.String(), errs.String())
				}
				return
			}
			if code != exitUsage || errs.String() != "prog: "+want.Error()+" (see prog --help)\n" {
				t.Errorf("exit %d, %q, want %q", code, errs.String(), want)
			}
		})
	}
}

// TestGrammar: a command that nothing runs, or a rule without effect, is an error at every start.
func TestGrammar(t *testing.T) {
	var unknown struct {
		Common
		Go struct{} `cmd:""`
	}
	var and struct {
		Common
		Go struct {
			testLeaf
			A string `and:"x"`
		} `cmd:""`
	}
	for want, cli := range map[string]any{"prog go: Program.Command does not know": &unknown, "--a: the tags and, lastwins": &and} {
		var errs bytes.Buffer
		code := Program{Name: "prog", CLI: cli, ConfigFile: filepath.Join(t.TempDir(), "absent.yaml"), Stderr: &errs}.Run(t.Context(), []string{"--version"})
		if code != exitFailed || !strings.Contains(errs.String(), want) {
			t.Errorf("exit %d, %q, want %q", code, errs.String(), want)
		}
	}
}

// TestHelpIsOfTheCommand: --help after a command is about that command, and the first of
// --help and --version counts.
func TestHelpIsOfTheCommand(t *testing.T) {
	for line, want := range map[string]string{
		"flags --help": "Usage: prog flags", "--help --version": "Usage: prog", "--version --help": "prog ", "args -h": "Usage: prog args",
	} {
		var out, errs bytes.Buffer
		p := Program{Name: "prog", CLI: &checkCLI{}, ConfigFile: filepath.Join(t.TempDir(), "absent.yaml"), Stdout: &out, Stderr: &errs}
		if code := p.Run(t.Context(), strings.Fields(line)); code != exitOK || !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: exit %d, %q %q, want %q", line, code, out.String(), errs.String(), want)
		}
	}
}
