package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// passwd runs the command with a password as its input.
func passwd(t *testing.T, password string, cmd passwdCmd) error {
	t.Helper()
	in, err := os.Create(filepath.Join(t.TempDir(), "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.WriteString(password); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	old := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = old }()
	return cmd.Run(program.Output{Writer: io.Discard})
}

func TestPasswd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "users")
	for _, step := range []struct {
		user, password string
		remove         bool
		want           string // in the error
	}{
		{"anna", "first\n", false, ""}, {"bob", "secret", false, ""}, {"anna", "second\n", false, ""}, {"eve", "x", false, ""}, {"eve", "", true, ""},
		{"eve", "", true, `has no user "eve"`}, {"a:b", "x", false, "a name has no colon"}, {"carl", "\n", false, "a password has 1 to"},
	} {
		err := passwd(t, step.password, passwdCmd{File: name, User: step.user, Delete: step.remove, Rounds: 10})
		if (err == nil) != (step.want == "") || (err != nil && !strings.Contains(err.Error(), step.want)) {
			t.Fatalf("%+v: %v", step, err)
		}
	}
	a, err := access.Open(access.Config{Users: name})
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		user, password string
		want           bool
	}{{"anna", "second", true}, {"anna", "first", false}, {"bob", "secret", true}, {"eve", "x", false}} {
		_, err := a.Authenticate(t.Context(), broker.Login{Username: try.user, Password: []byte(try.password)})
		if (err == nil) != try.want {
			t.Errorf("%s with %s: %v", try.user, try.password, err)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if got, _ := replaceUser([]byte("# kept\na:1\nb:2"), "a", "a:3"); string(got) != "# kept\na:3\nb:2\n" {
		t.Errorf("%q", got)
	}
}
