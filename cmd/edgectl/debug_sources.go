package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/bundle"
	"github.com/edgekit/edgekit/cmd/edgectl/internal/journal"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// fetch reads a path of a node's kubelet API.
type fetch func(ctx context.Context, path string) (io.ReadCloser, error)

// sources are what a bundle has, and the name of its node.
func (d *debugBundle) sources(cli *cli, now time.Time) (node string, all []bundle.Source, err error) {
	if d.Node == "" {
		return d.localSources(thisHost(), now)
	}
	f, err := cli.fleet()
	if err != nil {
		return "", nil, err
	}
	return d.Node, fleetSources(f, cli, d.Node, now), nil
}

// answers are the sources that a node itself answers.
func answers(ask fetch) []bundle.Source {
	from := func(path string) string { return "edgecore: " + path }
	open := func(path string) func(context.Context) (io.ReadCloser, error) {
		return func(ctx context.Context) (io.ReadCloser, error) { return ask(ctx, path) }
	}
	reduced := func(path string, reduce func([]byte) ([]byte, error)) func(context.Context) (io.ReadCloser, error) {
		return func(ctx context.Context) (io.ReadCloser, error) { return reduceFrom(ctx, ask, path, reduce) }
	}
	return []bundle.Source{
		{Name: "edgecore/log.txt", From: from(nodestate.PathLog) + ", its last lines", Open: open(nodestate.PathLog), Tail: true, Scrub: true},
		{Name: "edgecore/goroutines.txt", From: from(nodestate.PathGoroutines), Max: 4 << 20, Open: open(nodestate.PathGoroutines)},
		{Name: "edgecore/metrics.txt", From: from("/metrics"), Open: open("/metrics"), Scrub: true},
		{Name: "edgecore/settings.json", From: from("/configz") + ", settings that hold no secret", Open: reduced("/configz", bundle.Settings)},
		{Name: "pods.json", From: from("/pods") + ", without variables, commands and annotations", Max: 4 << 20, Open: reduced("/pods", bundle.Pods)},
	}
}

// maxDocument bounds a document that is reduced, in bytes.
const maxDocument = 16 << 20

func reduceFrom(ctx context.Context, ask fetch, path string, reduce func([]byte) ([]byte, error)) (io.ReadCloser, error) {
	in, err := ask(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxDocument))
	if err != nil {
		return nil, err
	}
	return bundle.Bytes(reduce(text))
}

// jsonSource is a document that this program makes.
func jsonSource(name, from string, build func(context.Context) (any, error)) bundle.Source {
	return bundle.Source{Name: name, From: from, Max: 4 << 20, Open: func(ctx context.Context) (io.ReadCloser, error) {
		value, err := build(ctx)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		return bundle.Bytes(bundle.ScrubJSON(text))
	}}
}

// versions are those of the programs and the machine.
func (m hostRoot) versions() map[string]string {
	out := map[string]string{"edgectl": program.Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	for key, name := range map[string]string{"kernel": "proc/sys/kernel/osrelease", "system": "etc/os-release"} {
		if text, err := os.ReadFile(m.path(name)); err == nil {
			out[key] = strings.TrimSpace(string(text))
		}
	}
	return out
}

// localSources are those of this machine. With edgecore stopped those that it answers are missing,
// and the manifest says so.
func (d *debugBundle) localSources(m hostRoot, now time.Time) (node string, all []bundle.Source, err error) {
	sockets := &localFlags{DataDir: d.DataDir, Space: "default"}
	ask := func(ctx context.Context, path string) (io.ReadCloser, error) {
		return sockets.get(ctx, "kubelet.sock", path, "")
	}
	node, err = os.Hostname()
	if err != nil {
		node = "node"
	}
	all = []bundle.Source{
		jsonSource("versions.json", "this program and the machine", func(context.Context) (any, error) { return m.versions(), nil }),
		jsonSource("status.json", "edgecore: "+nodestate.Path+", the service's state and the disks", func(ctx context.Context) (any, error) { return d.localDocument(ctx, sockets, m, now) }),
	}
	all = append(all, answers(ask)...)
	all = append(all, bundle.Source{Name: "node.json", From: "the node's API: its Node, without what annotations say", Open: func(ctx context.Context) (io.ReadCloser, error) {
		var state nodestate.Status
		if err := sockets.read(ctx, "kubelet.sock", nodestate.Path, "", &state); err != nil {
			return nil, err
		}
		api := func(ctx context.Context, path string) (io.ReadCloser, error) {
			return sockets.get(ctx, "api.sock", path, "application/json")
		}
		return reduceFrom(ctx, api, "/api/v1/nodes/"+url.PathEscape(state.Node), bundle.Node)
	}})
	all = append(all, eventsSource(func(context.Context) (*eventSource, error) { return localEvents(sockets), nil }, now))
	all = append(all, bundle.Source{Name: "journal.txt", From: "journalctl --unit=edgecore.service, the last 2,000 lines", Tail: true, Max: 2 << 20, Scrub: true,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return bundle.Bytes(journal.Edgecore(ctx)) }})
	return node, append(all, m.sources(d.DataDir)...), nil
}

// localDocument is the state of this machine without what identity files say: they have a key in
// them, and are not opened.
func (d *debugBundle) localDocument(ctx context.Context, sockets *localFlags, m hostRoot, now time.Time) (any, error) {
	out := localStatus{Kind: "LocalStatus", Time: now, Service: m.service(), Problems: []problem{}}
	var state nodestate.Status
	if err := sockets.read(ctx, "kubelet.sock", nodestate.Path, "", &state); err != nil {
		out.Unknown = append(out.Unknown, "what edgecore says: "+err.Error())
		out.Files = readPublicFiles(d.DataDir)
		return out, nil
	}
	out.Running, out.Node = true, &state
	out.Problems = (&statusCmd{Certificate: defaultCertificateWarning}).nodeProblems(&state, now)
	return out, nil
}

func eventsSource(from func(context.Context) (*eventSource, error), now time.Time) bundle.Source {
	return jsonSource("events.json", "events of the node and its pods", func(ctx context.Context) (any, error) {
		source, err := from(ctx)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		command := eventsCmd{Limit: 500}
		command.Output = "json"
		_, err = command.print(ctx, source, &out, now)
		return json.RawMessage(out.Bytes()), err
	})
}

// fleetSources are those of a node that is asked through the link.
func fleetSources(f *fleet, cli *cli, node string, now time.Time) []bundle.Source {
	ask := func(ctx context.Context, path string) (io.ReadCloser, error) {
		return f.proxy(ctx, node, path)
	}
	api := func(ctx context.Context, path string) (io.ReadCloser, error) {
		return f.raw.Get().AbsPath(path).SetHeader("Accept", "application/json").Stream(ctx)
	}
	describe := jsonSource("status.json", "the API server, and edgecore: "+nodestate.Path, func(ctx context.Context) (any, error) {
		identities, err := cli.identityOf(f.client)
		if err != nil {
			return nil, err
		}
		return f.describe(ctx, node, identities.ListNodes, now)
	})
	all := []bundle.Source{
		jsonSource("versions.json", "this program", func(context.Context) (any, error) { return map[string]string{"edgectl": program.Version()}, nil }),
		describe,
	}
	all = append(all, answers(ask)...)
	return append(all, bundle.Source{Name: "node.json", From: "the API server: the Node, without what annotations say", Open: func(ctx context.Context) (io.ReadCloser, error) {
		return reduceFrom(ctx, api, "/api/v1/nodes/"+url.PathEscape(node), bundle.Node)
	}}, eventsSource(func(ctx context.Context) (*eventSource, error) { return fleetEvents(ctx, f, node) }, now))
}

// systemFiles are tables of the system that hold no secret, by their names in the bundle.
func systemFiles() map[string]string {
	return map[string]string{
		"system/mounts.txt": "proc/self/mountinfo", "system/cgroup.txt": "proc/self/cgroup", "system/cgroups.txt": "proc/cgroups", "system/meminfo.txt": "proc/meminfo", "system/loadavg.txt": "proc/loadavg",
		"system/uptime.txt": "proc/uptime", "system/cpuinfo.txt": "proc/cpuinfo", "system/cpu-pressure.txt": "proc/pressure/cpu", "system/memory-pressure.txt": "proc/pressure/memory",
		"system/io-pressure.txt": "proc/pressure/io", "system/net-dev.txt": "proc/net/dev", "system/routes.txt": "proc/net/route", "system/routes6.txt": "proc/net/ipv6_route", "system/resolv.conf": "etc/resolv.conf",
		"system/modules.txt": "proc/modules", "system/filesystems.txt": "proc/filesystems",
	}
}

// sources are the files of the machine.
func (m hostRoot) sources(data string) []bundle.Source {
	var all []bundle.Source
	files := systemFiles()
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		file := m.path(files[name])
		all = append(all, bundle.Source{Name: name, From: file, Scrub: true, Open: func(context.Context) (io.ReadCloser, error) { return openRegular(file) }})
	}
	all = append(all,
		bundle.Source{Name: "system/kernel.txt", From: m.path("dev/kmsg") + ", its end", Tail: true, Scrub: true, Open: func(context.Context) (io.ReadCloser, error) { return openKernelLog(m.path("dev/kmsg")) }},
		bundle.Source{Name: "system/pod-cgroups.txt", From: "names and limits of the pods' cgroups", Open: func(context.Context) (io.ReadCloser, error) {
			return bundle.Bytes(cgroupTree(m.path("sys/fs/cgroup")))
		}},
		bundle.Source{Name: "data-dir.txt", From: data + ": names, sizes and modes of files, nothing of what they hold", Open: func(context.Context) (io.ReadCloser, error) { return bundle.Bytes(listing(data)) }},
		bundle.Source{Name: "edgecore/config.json", From: m.path("etc/edgekit/edgecore.yaml") + ", settings that hold no secret", Open: func(context.Context) (io.ReadCloser, error) {
			return configFile(m.path("etc/edgekit/edgecore.yaml"))
		}},
	)
	for _, dir := range []string{"etc/cni/net.d", "run/flannel"} {
		all = append(all, m.cniSources(dir)...)
	}
	crashes, _ := filepath.Glob(m.path("sys/fs/pstore/dmesg-*")) // the pattern is good
	for _, name := range crashes[:min(len(crashes), 8)] {
		all = append(all, bundle.Source{Name: "crash/" + filepath.Base(name), From: name, Tail: true, Scrub: true, Open: func(context.Context) (io.ReadCloser, error) { return openRegular(name) }})
	}
	return all
}

// cniSources are the CNI configurations in a folder.
func (m hostRoot) cniSources(dir string) []bundle.Source {
	entries, err := os.ReadDir(m.path(dir))
	if err != nil {
		return nil // a machine without it
	}
	var all []bundle.Source
	for _, e := range entries {
		name := m.path(filepath.Join(dir, e.Name()))
		if ext := filepath.Ext(name); ext != ".conf" && ext != ".conflist" && ext != ".json" {
			continue
		}
		all = append(all, bundle.Source{Name: "cni/" + filepath.Base(name) + ".json", From: name + ", without keys and passwords", Open: func(context.Context) (io.ReadCloser, error) {
			return reduceFile(name, bundle.CNI)
		}})
	}
	return all
}

// openRegular opens a file that is no link, pipe or device.
func openRegular(name string) (io.ReadCloser, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink != 0 && !strings.HasSuffix(name, "resolv.conf") || info.IsDir() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	if info, err = os.Stat(name); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return os.Open(name)
}

func reduceFile(name string, reduce func([]byte) ([]byte, error)) (io.ReadCloser, error) {
	in, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, bundle.DefaultMax))
	if err != nil {
		return nil, err
	}
	return bundle.Bytes(reduce(text))
}

// configFile copies the settings of a configuration file.
func configFile(name string) (io.ReadCloser, error) {
	return reduceFile(name, func(text []byte) ([]byte, error) {
		asJSON, err := yaml.YAMLToJSON(text)
		if err != nil {
			return nil, errors.New("the file is no YAML") // the error would quote it
		}
		return bundle.Settings(asJSON)
	})
}

// errTooMany ends a walk.
var errTooMany = errors.New("too many files")

// maxWalk bounds how many files a walk lists.
const maxWalk = 20_000

// listing lists the names, sizes and modes of the files in a folder.
func listing(dir string) ([]byte, error) {
	var out bytes.Buffer
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if n++; n > maxWalk {
			return errTooMany
		}
		if err != nil {
			fmt.Fprintf(&out, "%s: %v\n", path, err)
			return nil
		}
		if info, err := d.Info(); err == nil {
			fmt.Fprintf(&out, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), path)
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), "kubernetes.io~") { // volumes: their files' names are data
			return filepath.SkipDir
		}
		return nil
	})
	if errors.Is(err, errTooMany) {
		err = nil
	}
	return out.Bytes(), err
}

// cgroupTree lists the cgroups of pods with what limits them, of cgroup v2.
func cgroupTree(root string) ([]byte, error) {
	var out bytes.Buffer
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup that has gone meanwhile
		}
		if n++; n > maxWalk {
			return errTooMany
		}
		if name := d.Name(); path != root && !strings.Contains(path, "kubepods") && !strings.HasSuffix(name, ".slice") && !strings.HasPrefix(name, "edgecore") {
			return filepath.SkipDir
		}
		fmt.Fprintf(&out, "%s", strings.TrimPrefix(path, root))
		for _, file := range []string{"memory.current", "memory.max", "cpu.max", "pids.current", "pids.max"} {
			if text, err := os.ReadFile(filepath.Join(path, file)); err == nil {
				fmt.Fprintf(&out, " %s=%s", file, strings.TrimSpace(string(text)))
			}
		}
		out.WriteByte('\n')
		return nil
	})
	if errors.Is(err, errTooMany) {
		err = nil
	}
	return out.Bytes(), err
}
