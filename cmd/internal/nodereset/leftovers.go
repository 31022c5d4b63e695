package nodereset

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cniDirs are where plugins of CNI keep what they have given to sandboxes.
const (
	cniNetworks = "/var/lib/cni/networks" // of host-local: a file for each address, with the sandbox in it
	cniResults  = "/var/lib/cni/results"  // a file NETWORK-SANDBOX-INTERFACE
)

// addNetworks adds what CNI keeps about the pods' sandboxes. The runtime removes it with the
// sandbox; what it leaves is removed here.
func (p *Plan) addNetworks(pods []pod) {
	mine := func(id string) bool {
		return id != "" && slices.ContainsFunc(pods, func(one pod) bool { return one.sandbox == id })
	}
	networks, _ := os.ReadDir(p.path(cniNetworks)) // without any there are none
	for _, network := range networks {
		dir := filepath.Join(cniNetworks, network.Name())
		addresses, _ := os.ReadDir(p.path(dir)) // nor here
		for _, a := range addresses {
			if name := filepath.Join(dir, a.Name()); a.Type().IsRegular() && mine(p.firstLine(name)) {
				p.addFile("network", name)
			}
		}
	}
	results, _ := os.ReadDir(p.path(cniResults)) // nor here
	for _, r := range results {
		ours := slices.ContainsFunc(pods, func(one pod) bool { return one.sandbox != "" && strings.Contains(r.Name(), "-"+one.sandbox+"-") })
		if r.Type().IsRegular() && ours {
			p.addFile("network", filepath.Join(cniResults, r.Name()))
		}
	}
}

// firstLine is the first line of a small file; "" if it cannot be read.
func (p *Plan) firstLine(name string) string {
	f, err := os.Open(p.path(name))
	if err != nil {
		return ""
	}
	defer f.Close()
	line := bufio.NewScanner(f)
	line.Scan()
	return strings.TrimSpace(line.Text())
}

// addFile adds a file, which may have gone when its turn comes.
func (p *Plan) addFile(kind, name string) {
	p.add(Item{Kind: kind, Name: name, remove: func(context.Context) error {
		if err := os.Remove(p.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}})
}

// containerLinks has links to the logs of all containers of the machine.
const containerLinks = "/var/log/containers"

// addLogs adds the folders of the pods' logs, and the links to them.
func (p *Plan) addLogs(pods []pod) {
	var folders []string
	entries, _ := os.ReadDir(p.path(p.cfg.LogDir)) // without any there are none
	for _, d := range entries {
		uid := d.Name()[strings.LastIndex(d.Name(), "_")+1:]
		if !d.IsDir() || !slices.ContainsFunc(pods, func(one pod) bool { return one.uid != "" && one.uid == uid }) {
			continue
		}
		folders = append(folders, filepath.Join(p.cfg.LogDir, d.Name()))
		p.add(Item{Kind: "log", Name: filepath.Join(p.cfg.LogDir, d.Name()), Note: "with all below it", remove: func(context.Context) error {
			root, err := os.OpenRoot(p.path(p.cfg.LogDir))
			if err != nil {
				return err
			}
			defer root.Close()
			return root.RemoveAll(d.Name())
		}})
	}
	links, _ := os.ReadDir(p.path(containerLinks)) // nor here
	for _, l := range links {
		name := filepath.Join(containerLinks, l.Name())
		to, err := os.Readlink(p.path(name))
		if err == nil && slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(to, f+"/") }) {
			p.addFile("log", name)
		}
	}
}
