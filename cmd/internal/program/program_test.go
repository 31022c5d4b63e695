package program

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

type testCLI struct {
	Common
	DataDir string `help:"Where the node keeps what it must remember." default:"/var/lib/x" placeholder:"DIR"`

	Run  testRun   `cmd:"" default:"withargs" help:"Run."`
	Show ConfigCmd `cmd:"" name:"config" help:"Configuration."`
}

type testRun struct {
	Listen string            `help:"Address." default:"127.0.0.1:1"`
	Wait   time.Duration     `help:"How long." default:"30s"`
	Names  []string          `help:"Names."`
	Labels map[string]string `help:"Labels."`
	Fail   string            `help:"Fail so." placeholder:"TEXT"`
}

func (r *testRun) Run(_ context.Context, cli *testCLI, out Output) error {
	switch r.Fail {
	case "usage":
		return &UsageError{Setting: "fail", Reason: "was asked for; leave it out"}
	case "plain":
		return errors.New("two\nlines: of\ttext")
	}
	_, err := out.Write([]byte(strings.Join([]string{cli.DataDir, r.Listen, r.Wait.String(), strings.Join(r.Names, "+"), r.Labels["a"]}, " ")))
	return err
}

func (c *testCLI) command(command any) Runner {
	if cmd, ok := command.(*testRun); ok {
		return func(ctx context.Context, out Output) error { return cmd.Run(ctx, c, out) }
	}
	return nil
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cli := &testCLI{}
	p := Program{Name: "prog", CLI: cli, Command: cli.command, ConfigFile: filepath.Join(t.TempDir(), "absent.yaml"), Stdout: &out, Stderr: &errs}
	code = p.Run(t.Context(), args)
	return code, out.String(), errs.String()
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "prog.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSettings(t *testing.T) {
	file := write(t, "listen: file:1\nwait: 5s\nnames: [x, 'y,z']\nlabels: {a: b}\n")
	t.Setenv("PROG_DATA_DIR", "/env")
	tests := []struct {
		name string
		args []string
		env  string
		want string
	}{
		{"defaults and environment", nil, "", "/env 127.0.0.1:1 30s  "},
		{"file over default", []string{"--config", file}, "", "/env file:1 5s x+y,z b"},
		{"environment over file", []string{"--config", file}, "env:1", "/env env:1 5s x+y,z b"},
		{"flag over environment", []string{"--config", file, "--listen", "flag:1"}, "env:1", "/env flag:1 5s x+y,z b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.env != "" {
				t.Setenv("PROG_LISTEN", tt.env)
			}
			code, out, errs := run(t, tt.args...)
			if code != exitOK || out != tt.want {
				t.Errorf("exit %d, %q (%s), want %q", code, out, errs, tt.want)
			}
		})
	}
}

func TestFailuresAreOneLine(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown flag", []string{"--lisen=a"}, exitUsage, "--lisen"},
		{"unknown setting", []string{"--config", write(t, "a: 1\n") + ""}, exitUsage, `prog.yaml:1: unknown setting "a"; did you mean`},
		{"misspelt setting", []string{"--config", write(t, "\nlisen: x\n")}, exitUsage, `prog.yaml:2: unknown setting "lisen"; did you mean "listen"?`},
		{"twice", []string{"--config", write(t, "listen: x\nlisten: y\n")}, exitUsage, `prog.yaml:2: "listen" is set twice`},
		{"broken YAML", []string{"--config", write(t, "listen: [x\n")}, exitUsage, "correct the YAML"},
		{"no map", []string{"--config", write(t, "- a\n")}, exitUsage, "want a list of 'setting: value' lines"},
		{"nested", []string{"--config", write(t, "names: [[a]]\n")}, exitUsage, "prog.yaml:1: want a list of plain values"},
		{"bad value", []string{"--config", write(t, "wait: soon\n")}, exitUsage, "--wait"},
		{"absent file", []string{"--config", "/nowhere.yaml"}, exitUsage, "/nowhere.yaml"},
		{"usage from the command", []string{"--fail=usage"}, exitUsage, "--fail: was asked for; leave it out"},
		{"failure", []string{"--fail=plain"}, exitFailed, "prog: two lines: of text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := run(t, tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 || out != "" {
				t.Errorf("exit %d, stdout %q, stderr %q, want exit %d and %q", code, out, errs, tt.code, tt.want)
			}
		})
	}
}

func TestConfigPrintIsReadBack(t *testing.T) {
	code, out, errs := run(t, "config", "print")
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, want := range []string{"# Where the node keeps", "data-dir: /var/lib/x\n", "[PROG_LISTEN]", "# fail: TEXT\n", "log-level: info\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	code, again, errs := run(t, "--config", write(t, out))
	if code != exitOK || again != "/var/lib/x 127.0.0.1:1 30s  " {
		t.Errorf("exit %d: %q %s", code, again, errs)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, flag := range []string{"--help", "--version"} {
		code, out, _ := run(t, flag)
		if code != exitOK || !strings.Contains(out, "prog") {
			t.Errorf("%s: exit %d, %q", flag, code, out)
		}
	}
}

func FuzzParseYAML(f *testing.F) {
	f.Add([]byte("listen: x\nnames: [a]\n"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := parseYAML("f", text)
		if err != nil {
			return
		}
		for _, n := range parsed.values {
			_, _ = scalar(n, &kong.Flag{Value: &kong.Value{Tag: &kong.Tag{Sep: -1, MapSep: -1}}})
		}
	})
}
