package program

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// TestBelow: the values below count last, and an error names where its value comes from.
func TestBelow(t *testing.T) {
	values := Values{
		"listen": {Value: "below:1", Source: "listen at /k:1"}, "wait": {Value: "9s", Source: "wait at /k:2"},
		"names": {Value: []string{"a", "b,c"}, Source: "names at /k:3"}, "labels": {Value: map[string]string{"a": "z"}, Source: "labels at /k:4"},
	}
	asked := ""
	program := func(values Values, err error, args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		cli := &testCLI{}
		p := Program{Name: "prog", CLI: cli, Command: cli.command, ConfigFile: filepath.Join(t.TempDir(), "absent.yaml"), Stdout: &out, Stderr: &errs,
			Below: func(setting func(string) string) (Values, error) {
				asked = setting("data-dir") + " " + setting("listen")
				return values, err
			}}
		return p.Run(t.Context(), args), out.String(), errs.String()
	}
	if code, out, errs := program(values, nil); code != exitOK || out != "/var/lib/x below:1 9s a+b,c z" {
		t.Errorf("exit %d: %q %s", code, out, errs)
	}
	file := write(t, "listen: file:1\ndata-dir: /d\n")
	if code, out, errs := program(values, nil, "--config", file, "--wait", "1s"); code != exitOK || out != "/d file:1 1s a+b,c z" || asked != "/d file:1" {
		t.Errorf("exit %d: %q %s; asked %q", code, out, errs, asked)
	}
	t.Setenv("PROG_LISTEN", "env:1")
	if code, out, errs := program(values, nil, "--config", file); code != exitOK || !strings.HasPrefix(out, "/d env:1 ") || asked != "/d env:1" {
		t.Errorf("exit %d: %q %s; asked %q", code, out, errs, asked)
	}
	wrong := Values{"wait": {Value: "long", Source: "wait at /k:2"}}
	if code, _, errs := program(wrong, nil); code != exitUsage || !strings.Contains(errs, "(--wait is set by wait at /k:2)") {
		t.Errorf("exit %d: %s", code, errs)
	}
	usage := Values{"fail": {Value: "usage", Source: "fail at /k:5"}}
	if code, _, errs := program(usage, nil); code != exitUsage || !strings.Contains(errs, "set by fail at /k:5") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs := program(nil, errors.New("the file is wrong")); code != exitUsage || errs != "prog: the file is wrong\n" {
		t.Errorf("exit %d: %q", code, errs)
	}
}

// TestSeparators: lists and maps of the configuration file have the form of their flags,
// whatever the flag separates by.
func TestSeparators(t *testing.T) {
	var got struct {
		Common
		Run struct {
			Pairs map[string]string `mapsep:","`
			List  []string          `sep:";"`
			testLeaf
		} `cmd:"" default:"withargs"`
	}
	var errs bytes.Buffer
	file := write(t, "pairs: {cpu: 200m, memory: 1Gi}\nlist: ['0:a=1,b=2', '1:a=1']\n")
	p := Program{Name: "prog", CLI: &got, ConfigFile: file, Stdout: &errs, Stderr: &errs}
	p.Run(t.Context(), []string{})
	if got.Run.Pairs["cpu"] != "200m" || got.Run.Pairs["memory"] != "1Gi" || len(got.Run.List) != 2 || got.Run.List[0] != "0:a=1,b=2" {
		t.Errorf("%+v %s", got.Run, errs.String())
	}
}
