package program

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

func TestEditConfig(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		set        map[string]string
		want, err  string
	}{
		{"an empty file", "", map[string]string{"b": "1", "a": "x y"}, "a: x y\nb: \"1\"\n", ""},
		{"a value is replaced and comments stay", "# all\n\n# the address\nlisten: a:1 # old\nwait: 5s\n", map[string]string{"listen": "b:2"}, "# all\n\n# the address\nlisten: b:2 # old\nwait: 5s\n", ""},
		{"a list", "names: [x, y]\n", map[string]string{"names": "{a,b}"}, "names: a,b\n", ""},
		{"removed", "listen: a:1\nwait: 5s\n", map[string]string{"listen": "null", "none": "null"}, "wait: 5s\n", ""},
		{"all removed", "listen: a:1\n", map[string]string{"listen": "null"}, "", ""},
		{"text that looks otherwise", "", map[string]string{"a": "true", "b": "", "c": "x: y", "d": "#1"}, "a: \"true\"\nb: \"\"\nc: 'x: y'\nd: '#1'\n", ""},
		{"no YAML", "a: [\n", map[string]string{"b": "1"}, "", "correct the YAML"},
		{"no map", "- a\n", map[string]string{"b": "1"}, "", "want a list of 'setting: value' lines"},
		{"too large", strings.Repeat(" ", maxConfig+1), nil, "", "not a configuration file"},
	} {
		got, err := EditConfig("f.yaml", []byte(tt.text), tt.set)
		if string(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func TestCheckConfig(t *testing.T) {
	t.Setenv("PROG_LABELS", "a=env")
	check := func(text string, args []string, changed ...string) error {
		cli := &testCLI{}
		p := Program{Name: "prog", CLI: cli, Command: cli.command, ConfigFile: filepath.Join(t.TempDir(), "absent.yaml"), Stdout: io.Discard, Stderr: io.Discard}
		return p.CheckConfig(args, write(t, text), changed)
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
