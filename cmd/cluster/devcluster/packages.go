package devcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// cniFolders are where distributions put the CNI plugins; Debian's is first.
var cniFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// Package is a part of the system that is used as it is.
type Package struct {
	Name    string      // of Debian's package
	Present func() bool // whether what it brings is there
}

// needs are what a cluster uses.
var needs = []Package{
	{"runc", Command("runc")},
	{"containernetworking-plugins", func() bool { return cniFolder() != "" }},
	{"iproute2", Command("ip")},
	{"iptables", Command("iptables")}, // the portmap plugin's, for pods with a hostPort
	{"util-linux", Command("nsenter")},
}

// Command is the Present of a package that brings a command.
func Command(name string) func() bool {
	return func() bool { _, err := exec.LookPath(name); return err == nil }
}

func cniFolder() string {
	for _, dir := range cniFolders {
		if _, err := os.Stat(dir + "/bridge"); err == nil {
			return dir
		}
	}
	return ""
}

// Install installs what is missing of the packages with apt-get.
func (c *Cluster) Install(ctx context.Context, packages ...Package) error {
	var missing []string
	for _, p := range packages {
		if !p.Present() {
			missing = append(missing, p.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("devcluster: missing %s: install them (these are Debian's package names; there is no apt-get here)", strings.Join(missing, ", "))
	}
	c.printf("  installing %s with apt-get", strings.Join(missing, ", "))
	began := time.Now()
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("devcluster: apt-get %s: %w\n%s", args[0], err, lastPart(string(out)))
		}
	}
	for _, p := range packages {
		if !p.Present() {
			return fmt.Errorf("devcluster: package %s is installed, but what it should bring is not there", p.Name)
		}
	}
	c.printf("  installed in %v", time.Since(began).Round(time.Second))
	return nil
}

func lastPart(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// requireRoot says early what would fail late, and completes PATH: programs
// like runc and ip are in folders that a plain su leaves out.
func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("devcluster: must be root, for containers and their network: run it with sudo env PATH=\"$PATH\"")
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	return nil
}
