package program

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckStart(t *testing.T) {
	t.Setenv("PROG_LABELS", "a=env")
	check := func(text string, args []string, changed ...string) error {
		cli := &testCLI{}
		p := Program{Name: "prog", CLI: cli, Command: cli.command, ConfigFile: filepath.Join(t.TempDir(), "absent.yaml"), Stdout: io.Discard, Stderr: io.Discard}
		return p.CheckStart(args, write(t, text), changed)
	}
	for _, tt := range []struct {
		text    string
		args    []string
		changed []string
		err     string
	}{
		{"listen: b:2\n", nil, []string{"listen"}, ""},
		{"listen: b:2\nwait: 5s\n", []string{"run", "--config", "/nowhere.yaml", "--wait=1s"}, []string{"listen"}, ""},
		{"wait: long\n", []string{"--config=/nowhere.yaml"}, []string{"wait"}, "--wait"},
		{"wait: 5s\n", []string{"--wait", "1s"}, []string{"wait"}, "remove --wait there"},
		{"labels: {a: b}\n", nil, []string{"labels"}, "remove PROG_LABELS there"},
		{"listem: b:2\n", nil, nil, `did you mean "listen"?`},
		{"", []string{"--version"}, nil, "ask for help"},
		{"", []string{"--none"}, nil, "--none"},
	} {
		err := check(tt.text, tt.args, tt.changed...)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q %q: %v", tt.text, tt.args, err)
		}
	}
	unknown, ok := errors.AsType[*UnknownSettingError](check("", nil, "listem"))
	if !ok || unknown.Setting != "listem" || unknown.Nearest != "listen" {
		t.Errorf("an unknown setting: %+v", unknown)
	}
}

// TestEditLastLine: a setting that is added does not go with the last one that is changed.
func TestEditLastLine(t *testing.T) {
	got, err := EditConfig("f.yaml", []byte("# a\nmode: x\n"), map[string]string{"first": "1", "mode": "y"}, nil)
	if err != nil || string(got) != "# a\nmode: y\nfirst: 1\n" {
		t.Errorf("%q, %v", got, err)
	}
}
