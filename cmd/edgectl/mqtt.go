package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

type mqttCmd struct {
	Passwd passwdCmd `cmd:"" help:"Add a user to the file of the node's MQTT broker (edgecore --mqtt-users-file), change its password, or delete it. The password is read from the terminal, or is the first line of the input."`
}

type passwdCmd struct {
	File   string `arg:"" help:"The file. It is made if it is not there."`
	User   string `arg:"" help:"The user's name."`
	Delete bool   `help:"Delete the user." short:"D"`
	Rounds int    `help:"How often the password is hashed: each login costs as much." default:"20000"`
}

// Run changes the file. edgecore sees the change by itself.
func (p *passwdCmd) Run(out program.Output) error {
	line := ""
	if !p.Delete {
		password, err := readPassword(os.Stdin)
		if err != nil {
			return err
		}
		if line, err = access.Hash(p.User, password, p.Rounds); err != nil {
			return &program.UsageError{Setting: "user", Reason: err.Error()}
		}
	}
	old, err := os.ReadFile(p.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &program.UsageError{Setting: "file", Reason: err.Error()}
	}
	text, found := replaceUser(old, p.User, line)
	if p.Delete && !found {
		return &program.UsageError{Setting: "user", Reason: fmt.Sprintf("%s has no user %q", p.File, p.User)}
	}
	if err := replaceFile(p.File, text); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: user %s is %s\n", p.File, p.User, map[bool]string{true: "deleted", false: "set"}[p.Delete])
	return err
}

// readPassword reads a password twice from a terminal, without showing it, or else once.
func readPassword(in *os.File) ([]byte, error) {
	fd := int(in.Fd())
	if !term.IsTerminal(fd) {
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return bytes.TrimRight(line, "\r\n"), nil
	}
	var all [2][]byte
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(os.Stderr, prompt)
		var err error
		if all[i], err = term.ReadPassword(fd); err != nil {
			return nil, err
		}
		fmt.Fprintln(os.Stderr)
	}
	if !bytes.Equal(all[0], all[1]) {
		return nil, errors.New("the two passwords are not the same: try again")
	}
	return all[0], nil
}

// replaceUser puts line in place of the user's, or at the end; an empty one removes it.
func replaceUser(text []byte, user, line string) (changed []byte, found bool) {
	lines := slices.Collect(strings.Lines(string(text)))
	if line != "" {
		line += "\n"
	}
	for i, l := range lines {
		if strings.HasPrefix(l, user+":") {
			lines[i], found = line, true
		}
	}
	if n := len(lines); n > 0 && lines[n-1] != "" && !strings.HasSuffix(lines[n-1], "\n") {
		lines[n-1] += "\n"
	}
	if !found {
		lines = append(lines, line)
	}
	return []byte(strings.Join(lines, "")), found
}

// replaceFile replaces a file in one step. A new one can be read by its owner only.
func replaceFile(name string, text []byte) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".mqtt-users-*")
	if err != nil {
		return &program.UsageError{Setting: "file", Reason: err.Error() + ": name a file in a folder that is there"}
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails once the file has its name
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}
