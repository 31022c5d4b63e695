package program

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// config runs the command config on a file and returns what the file has then.
func config(t *testing.T, text string, args ...string) (code int, out, errs, after string) {
	t.Helper()
	file := write(t, text)
	code, out, errs = run(t, append([]string{"config", "--config", file}, args...)...)
	now, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return code, strings.ReplaceAll(out, file, "FILE"), strings.ReplaceAll(errs, file, "FILE"), string(now)
}

const commented = `# What this machine is.

# Address. [PROG_LISTEN]
listen: 127.0.0.1:2 # until May

# How long.
# wait: TIME
names:
- a
- b

# the end
`

func TestConfigSet(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		args []string
		want string // the file afterwards
		code int
		says string // on either output
	}{
		"a value; comments stay":   {commented, []string{"set", "listen=127.0.0.1:3"}, strings.Replace(commented, ":2 #", ":3 #", 1), 0, "+listen: 127.0.0.1:3 # until May"},
		"at its comment":           {commented, []string{"set", "wait=5s"}, strings.Replace(commented, "# wait: TIME\n", "# wait: TIME\nwait: 5s\n", 1), 0, "+wait: 5s"},
		"a list":                   {commented, []string{"set", "names=x,y"}, strings.Replace(commented, "names:\n- a\n- b\n", "names: x,y\n", 1), 0, "restart prog"},
		"unset":                    {commented, []string{"set", "--unset", "names"}, strings.Replace(commented, "names:\n- a\n- b\n", "", 1), 0, "-names:"},
		"the same":                 {"wait: 5s\n", []string{"set", "wait=5s"}, "wait: 5s\n", 0, "FILE unchanged"},
		"a dry run":                {"wait: 5s\n", []string{"set", "-d", "wait=6s"}, "wait: 5s\n", 0, "+wait: 6s"},
		"quoted where it must be":  {"", []string{"set", "listen=a: b"}, "listen: \"a: b\"\n", 0, "configured"},
		"no line break at the end": {"wait: 5s", []string{"set", "listen=x:1"}, "wait: 5s\nlisten: x:1\n", 0, "configured"},
		"mends a wrong value":      {"wait: long\n", []string{"set", "wait=7s"}, "wait: 7s\n", 0, "configured"},
		"an unknown name":          {"wait: 5s\n", []string{"set", "wiat=6s"}, "wait: 5s\n", 2, `did you mean "wait"`},
		"a wrong value":            {"wait: 5s\n", []string{"set", "wait=long"}, "wait: 5s\n", 1, "nothing was written"},
		"no value":                 {"wait: 5s\n", []string{"set", "wait"}, "wait: 5s\n", 2, "want NAME=VALUE"},
		"nothing":                  {"wait: 5s\n", []string{"set"}, "wait: 5s\n", 2, "nothing to set"},
		"both":                     {"wait: 5s\n", []string{"set", "wait=1s", "--unset", "wait"}, "wait: 5s\n", 1, "both set and unset"},
		"another form":             {"{wait: 5s, listen: a:1}\n", []string{"set", "wait=6s"}, "{wait: 5s, listen: a:1}\n", 1, "a line of its own"},
		"no YAML":                  {"wait: [\n", []string{"set", "wait=6s"}, "wait: [\n", 1, "correct the YAML"},
	} {
		code, out, errs, after := config(t, test.text, test.args...)
		if code != test.code || after != test.want || !strings.Contains(out+errs, test.says) {
			t.Errorf("%s: exit %d, %q %q, want %d and %q; the file is\n%s\nwant\n%s", name, code, out, errs, test.code, test.says, after, test.want)
		}
	}
}

func TestConfigGet(t *testing.T) {
	for want, args := range map[string][]string{
		"listen: 127.0.0.1:2\nnames: a,b\n": {"get"},
		"127.0.0.1:2\n":                     {"get", "listen"},
		"30s\n":                             {"get", "wait"},
		"wait: 30s\nnames: a,b\n":           {"get", "wait", "names"},
		"listen: \"127.0.0.1:1\" -> \"127.0.0.1:2\"\nnames: \"\" -> \"a,b\"\n": {"diff"},
		"FILE is valid\n": {"validate"},
	} {
		if code, out, errs, _ := config(t, commented, args...); code != 0 || out != want {
			t.Errorf("%v: exit %d, %q %q, want %q", args, code, out, errs, want)
		}
	}
	if code, _, errs, _ := config(t, "listen: a:1\nwiat: 5s\n", "validate"); code != 2 || !strings.Contains(errs, `FILE:2: unknown setting "wiat"; did you mean "wait"?`) {
		t.Errorf("validate: exit %d, %q", code, errs)
	}
	if code, _, errs := run(t, "config", "validate", "/nonexistent"); code == 0 {
		t.Errorf("validate of no file: %q", errs)
	}
	if code, _, errs, _ := config(t, commented, "get", "nmaes"); code != 2 || !strings.Contains(errs, `did you mean "names"`) {
		t.Errorf("get: exit %d, %q", code, errs)
	}
}

// TestElsewhere has another program run the commands about its file.
func TestElsewhere(t *testing.T) {
	var asked [][]string
	var out, errs bytes.Buffer
	cli := &testCLI{}
	p := Program{Name: "prog", CLI: cli, Command: cli.command, Stdout: &out, Stderr: &errs, Elsewhere: func(args []string) (bool, error) {
		asked = append(asked, args)
		return true, errors.New("no such program")
	}}
	if code := p.Run(t.Context(), []string{"config", "get", "wait"}); code != 1 || len(asked) != 1 || !strings.Contains(errs.String(), "no such program") {
		t.Errorf("exit %d, %v, %q", code, asked, errs.String())
	}
	if code := p.Run(t.Context(), []string{"run", "--fail", "config"}); code != 0 || len(asked) != 1 {
		t.Errorf("exit %d: another command was passed on: %v", code, asked)
	}
}

// TestWriteConfig replaces a file whole, behind a link too, and keeps its mode.
func TestWriteConfig(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "sub", "f.yaml"), filepath.Join(dir, "link.yaml")
	for _, want := range []string{"created", "unchanged"} {
		if outcome, err := WriteConfig(file, []byte("a: 1\n"), 0o640); err != nil || outcome != want {
			t.Fatalf("%q, %v, want %q", outcome, err, want)
		}
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if outcome, err := WriteConfig(link, []byte("a: 2\n"), 0o640); err != nil || outcome != "configured" {
		t.Fatalf("%q, %v", outcome, err)
	}
	info, err := os.Stat(file)
	text, err2 := os.ReadFile(file)
	if err != nil || err2 != nil || info.Mode().Perm() != 0o600 || string(text) != "a: 2\n" {
		t.Errorf("%v, %q, %v %v", info.Mode(), text, err, err2)
	}
	if at, err := os.Readlink(link); err != nil || at != file {
		t.Errorf("the link leads to %q, %v", at, err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

// FuzzEditLines changes a line of any file: all else stays, or nothing is changed.
func FuzzEditLines(f *testing.F) {
	f.Add(commented, "wait", "5s")
	f.Add("a: |\n  x\n  # y\nb: 1\n", "a", "2")
	f.Add("a: &x 1\nb: *x\n", "b", "2")
	f.Add("---\na: 1\n...\n", "c", "- x")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		before, err := parseYAML("f", []byte(text))
		if err != nil {
			return
		}
		out, err := EditConfig("f", []byte(text), map[string]string{key: value}, nil)
		if err != nil {
			return
		}
		after, err := parseYAML("f", out)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, out, err)
		}
		if after.values[key].Value != value {
			t.Errorf("%q: %q is %q, want %q", out, key, after.values[key].Value, value)
		}
		for name, node := range before.values {
			if name != key && !sameNode(node, after.values[name]) {
				t.Errorf("%q: %q has changed", out, name)
			}
		}
	})
}
