package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/cmd/internal/sshhost"
)

// remoteProgram is a program that is copied to machines, with the commands for it.
type remoteProgram struct {
	name             string
	digest           sshhost.Command // prints the SHA-256 of the one that is there
	install, asAdmin sshhost.Command // replace it in one step by standard input
}

// remotePrograms are what a node needs.
func remotePrograms() []remoteProgram {
	return []remoteProgram{
		{
			"edgecore", "sha256sum /usr/bin/edgecore",
			"umask 022; cat > /usr/bin/.edgecore.new && chmod 755 /usr/bin/.edgecore.new && sync && mv -f /usr/bin/.edgecore.new /usr/bin/edgecore",
			"sudo -n sh -c 'umask 022; cat > /usr/bin/.edgecore.new && chmod 755 /usr/bin/.edgecore.new && sync && mv -f /usr/bin/.edgecore.new /usr/bin/edgecore'",
		},
		{
			"edgectl", "sha256sum /usr/bin/edgectl",
			"umask 022; cat > /usr/bin/.edgectl.new && chmod 755 /usr/bin/.edgectl.new && sync && mv -f /usr/bin/.edgectl.new /usr/bin/edgectl",
			"sudo -n sh -c 'umask 022; cat > /usr/bin/.edgectl.new && chmod 755 /usr/bin/.edgectl.new && sync && mv -f /usr/bin/.edgectl.new /usr/bin/edgectl'",
		},
	}
}

// copyPrograms copies the programs that the machine does not have, and compares them after.
func (m *manyJoin) copyPrograms(ctx context.Context, client *sshhost.Client, h host, root bool) error {
	for _, p := range remotePrograms() {
		f, err := os.Open(filepath.Join(m.flags.Programs, p.name))
		if err != nil {
			return err
		}
		err = m.copyProgram(ctx, client, h, root, p, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("copy %s: %w", p.name, err)
		}
	}
	return nil
}

func (m *manyJoin) copyProgram(ctx context.Context, client *sshhost.Client, h host, root bool, p remoteProgram, f *os.File) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	want := hex.EncodeToString(sum.Sum(nil))
	if digest(ctx, client, p.digest) == want {
		return nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	command := p.install
	if !root {
		command = p.asAdmin
	}
	m.say(h, "copies "+p.name)
	if err := client.Run(ctx, command, f, io.Discard); err != nil {
		return err
	}
	if have := digest(ctx, client, p.digest); have != want {
		return fmt.Errorf("the copy on the machine differs (%s, want %s): try again", have, want)
	}
	return nil
}

// digest is the first word that the command prints; "" if it fails, as for a program that is
// not there.
func digest(ctx context.Context, client *sshhost.Client, command sshhost.Command) string {
	out, _ := client.Output(ctx, command)
	first, _, _ := strings.Cut(out, " ")
	return first
}
