package program

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type completionCLI struct {
	Common
	Token struct {
		Create struct {
			Node string `help:"Node." placeholder:"NAME"`
			TTL  string `help:"Time."`
			Kind string `help:"Kind." enum:"one,other" default:"one"`
		} `cmd:"" help:"Make one."`
		List struct{} `cmd:"" help:"List them."`
	} `cmd:"" help:"Tokens."`
	Secret struct{}      `cmd:"" hidden:"" help:"Not shown."`
	Shell  CompletionCmd `cmd:"" name:"completion" help:"Script."`
}

func script(t *testing.T, shell string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cli := &completionCLI{}
	p := Program{Name: "prog", CLI: cli, Stdout: &out, Stderr: &errs, Command: func(any) Runner { return func(context.Context, Output) error { return nil } }}
	if code := p.Run(t.Context(), []string{"completion", shell}); code != 0 {
		t.Fatal(errs.String())
	}
	return out.String()
}

// TestCompletion asks a real bash what it offers.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	file := filepath.Join(t.TempDir(), "prog.bash")
	if err := os.WriteFile(file, []byte(script(t, "bash")), 0o600); err != nil {
		t.Fatal(err)
	}
	const ask = `set -u; source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _prog; printf '%s\n' "${COMPREPLY[@]}"`
	for line, want := range map[string]string{
		"prog ":                                   "completion token",
		"prog to":                                 "token",
		"prog token ":                             "create list",
		"prog token c":                            "create",
		"prog token create --n":                   "--node",
		"prog token create --node x --k":          "--kind",
		"prog token create --kind ":               "one other",
		"prog token create --kind = o":            "one other",
		"prog token create --kind = ot":           "other",
		"prog --log-format ":                      "json text",
		"prog --log-format text token ":           "create list",
		"prog --log-format = text token ":         "create list",
		"prog --log-level token token l":          "list",
		"prog completion ":                        "bash fish zsh",
		"prog token create --node create --kind ": "one other",
		"prog --s":                                "",
	} {
		args := append([]string{"-c", ask, "bash", file}, strings.Split(line, " ")...)
		out, err := exec.Command(bash, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", line, err, out)
		}
		have := strings.Fields(string(out))
		slices.Sort(have)
		if strings.Join(have, " ") != want {
			t.Errorf("%q: bash offers %q, want %q", line, have, want)
		}
	}
}

// TestOtherShells looks at the scripts of shells that need not be here.
func TestOtherShells(t *testing.T) {
	if text := script(t, "zsh"); !strings.HasPrefix(text, "#compdef prog\n") || !strings.Contains(text, "bashcompinit") {
		t.Errorf("zsh: %.200s", text)
	}
	text := script(t, "fish")
	for _, want := range []string{"-n '__fish_use_subcommand' -a token\n", "-n '__fish_seen_subcommand_from create' -l kind -r -a 'one other'\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("fish: no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("fish: a hidden command is offered")
	}
}
