package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// configCmd shows and changes configuration files: edgectl's own, or that of another program.
type configCmd struct {
	program.ConfigCmd `embed:""`

	Of      string     `help:"Whose configuration: edgecore's, cloudcore's or edgectl's own. The program itself, beside this one or in PATH, does the work." enum:"edgecore,cloudcore,edgectl" default:"edgectl"`
	Convert convertCmd `cmd:"" help:"Convert a configuration of KubeEdge (edgecore.yaml, cloudcore.yaml) to one of edgekit."`
}

// Help is the text below the usage.
func (configCmd) Help() string {
	return `Examples:
  edgectl config set --of edgecore max-pods=50
  edgectl config diff --of edgecore
  edgectl config validate --of cloudcore /etc/edgekit/cloudcore.yaml
  edgectl config convert /etc/kubeedge/config/edgecore.yaml`
}

// elsewhere has another program run a command about its configuration. It returns only if that
// is not asked for, or fails: else the other program takes the place of this one.
func (c *cli) elsewhere(args []string) (bool, error) {
	of := c.Config.Of
	if of == "edgectl" || of == "" {
		return false, nil
	}
	return false, c.replaced(of, withoutOf(args))
}

// replaced runs another program in the place of this one. It returns only if that fails.
func (c *cli) replaced(by string, args []string) error {
	path, err := programPath(by)
	if err != nil {
		return err
	}
	replace := c.replace
	if replace == nil {
		replace = syscall.Exec //nolint:gosec // one of two names, beside this program or in PATH
	}
	return fmt.Errorf("start %s: %w", path, replace(path, append([]string{by}, args...), os.Environ()))
}

// withoutOf leaves --of and its value out.
func withoutOf(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return append(out, args[i:]...)
		case args[i] == "--of":
			i++
		case strings.HasPrefix(args[i], "--of="):
		default:
			out = append(out, args[i])
		}
	}
	return out
}

// programPath finds a program beside this one or in PATH.
func programPath(name string) (string, error) {
	var dirs []string
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !filepath.IsAbs(dir) })
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s beside this one or in PATH: run this on a machine that has it", name)
}
