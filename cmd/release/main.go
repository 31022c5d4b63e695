package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/release/dist"
	"github.com/edgekit/edgekit/cmd/release/programs"
	"github.com/edgekit/edgekit/cmd/release/sign"
)

type commands struct {
	Build   buildCommand   `cmd:"" help:"Build all files of a release."`
	Check   checkCommand   `cmd:"" help:"Build twice, in two folders, and compare all bytes."`
	Key     keyCommand     `cmd:"" help:"Make a key and a certificate to sign releases with. Nodes trust what it signs once they have its trust folder as /etc/edgekit/trust."`
	Modfile modfileCommand `cmd:"" help:"Print the name of a file for 'go build -modfile', without which programs for 32-bit machines refuse to open their store."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cli commands
	parsed := kong.Parse(&cli, kong.Name("release"), kong.Description("Builds everything that an operator of edgekit installs."), kong.UsageOnError())
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}

// source are the flags that say what to build.
type source struct {
	Source     string   `help:"Root folder of edgekit's source." default:"../.." type:"existingdir"`
	Version    string   `help:"Version, such as v1.2.3. Default: the tag of the commit, or Go's pseudo-version of it." placeholder:"VERSION"`
	Archs      []string `help:"Architectures: amd64, arm64, arm (v7), riscv64. Default: all."`
	Repository string   `help:"Where the images are to be; their names are added." default:"docker.io/edgekit"`
	Include    []string `help:"Files to add to the release and its bundle, such as an archive of 'edgectl images save'." type:"existingfile" placeholder:"FILE,..."`
}

func (s source) release(ctx context.Context) (dist.Release, error) {
	platforms, err := programs.Select(s.Archs)
	if err != nil {
		return dist.Release{}, err
	}
	dir, err := filepath.Abs(s.Source)
	if err != nil {
		return dist.Release{}, err
	}
	commit, err := programs.ReadCommit(ctx, dir)
	if err != nil {
		return dist.Release{}, err
	}
	if commit.Changed && s.Version != "" {
		fmt.Fprintln(os.Stderr, "release: warning: files differ from the commit, and the version does not say so")
	}
	return dist.Release{
		Source: dir, Version: cmp.Or(s.Version, commit.Version()), Platforms: platforms, Revision: commit.ID, Time: commit.Time,
		Repository: s.Repository, Extra: s.Include, Log: os.Stdout,
	}, nil
}

type buildCommand struct {
	source
	Out  string `help:"Folder of the files. Default: bin/release/VERSION in the source." type:"path" placeholder:"DIR"`
	Key  string `help:"Sign with this ECDSA P-256 key (PEM)." type:"existingfile" placeholder:"FILE"`
	Node bool   `help:"Build only the Debian package of edgecore and the artefact for upgrades: no release, but enough to try one on a machine."`
	Cert string `help:"Sign in Notation's form too, with this certificate of the key, followed by those that issued it (PEM)." type:"existingfile" placeholder:"FILE"`
}

// Run builds the release.
func (c *buildCommand) Run(ctx context.Context) error {
	r, err := c.release(ctx)
	if err != nil {
		return err
	}
	switch {
	case c.Key != "":
		if r.Signer, err = sign.Load(c.Key, c.Cert); err != nil {
			return err
		}
	case c.Cert != "":
		return fmt.Errorf("--cert needs --key, the certificate's private key")
	default:
		fmt.Fprintln(os.Stderr, "release: no --key: nothing is signed, and nodes refuse the artefact")
	}
	r.Out = cmp.Or(c.Out, filepath.Join(r.Source, "bin", "release", r.Version))
	began := time.Now()
	write := r.Write
	if c.Node {
		write = r.WriteNode
	}
	if err := write(ctx); err != nil {
		return err
	}
	fmt.Printf("%s: %s in %v\n", r.Version, r.Out, time.Since(began).Round(time.Second))
	return nil
}

type checkCommand struct {
	source
	Fresh bool `help:"Use an empty build cache for the second build."`
}

// Run builds twice and compares.
func (c *checkCommand) Run(ctx context.Context) error {
	r, err := c.release(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "edgekit-release-check-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	began := time.Now()
	files, err := r.Check(ctx, dir, c.Fresh, nil)
	if err != nil {
		return err
	}
	fmt.Printf("RESULT release_same_files %d files\nRESULT release_check_time %.0f s\n", files, time.Since(began).Seconds())
	return nil
}

type keyCommand struct {
	Dir  string `arg:"" help:"Folder for key.pem, cert.pem and trust, the trust folder of nodes." type:"path"`
	Name string `help:"Name in the certificate and of the trust store." default:"edgekit"`
}

// Run makes the key.
func (c *keyCommand) Run() error { return sign.WriteKey(c.Dir, c.Name, time.Now()) }

type modfileCommand struct {
	Source string `help:"Root folder of edgekit's source." default:"../.." type:"existingdir"`
}

// Run writes the file and what it names.
func (c *modfileCommand) Run(ctx context.Context) error {
	dir, err := filepath.Abs(c.Source)
	if err != nil {
		return err
	}
	file, err := programs.Modfile(ctx, dir)
	if err == nil {
		fmt.Println(file)
	}
	return err
}
