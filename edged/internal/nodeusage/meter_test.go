package nodeusage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/runtime"
)

// write makes files below a new folder.
func write(t testing.TB, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestMemory reads the node's memory of both versions of cgroups.
func TestMemory(t *testing.T) {
	const info = "MemTotal: 1000 kB\nMemFree: 400 kB\nInactive(file): 100 kB\n"
	for name, tt := range map[string]struct {
		cgroups map[string]string
		group   string
		want    eviction.Observations
	}{
		"version 1": {
			cgroups: map[string]string{
				"memory/memory.usage_in_bytes": "700000\n", "memory/memory.stat": "cache 1\ninactive_file 7\ntotal_inactive_file 200000\n",
				"memory/kubepods/memory.usage_in_bytes": "300000\n", "memory/kubepods/memory.stat": "total_inactive_file 100000\n", "memory/kubepods/memory.limit_in_bytes": "500000\n",
			},
			group: "/kubepods",
			want:  eviction.Observations{eviction.MemoryAvailable: {Available: 524000, Capacity: 1024000}, eviction.AllocatableMemoryAvailable: {Available: 300000, Capacity: 500000}},
		},
		"version 1 without a limit": {
			cgroups: map[string]string{
				"memory/memory.usage_in_bytes": "700000\n", "memory/memory.stat": "total_inactive_file 800000\n",
				"memory/kubepods/memory.usage_in_bytes": "1\n", "memory/kubepods/memory.stat": "", "memory/kubepods/memory.limit_in_bytes": "9223372036854771712\n",
			},
			group: "/kubepods",
			want:  eviction.Observations{eviction.MemoryAvailable: {Available: 1024000, Capacity: 1024000}},
		},
		"version 2": {
			cgroups: map[string]string{
				"memory.stat":                "anon 400000\nfile 300000\ninactive_file 200000\n",
				"kubepods.slice/memory.stat": "inactive_file 100000\n", "kubepods.slice/memory.current": "300000\n", "kubepods.slice/memory.max": "500000\n",
			},
			group: "/kubepods.slice",
			want:  eviction.Observations{eviction.MemoryAvailable: {Available: 524000, Capacity: 1024000}, eviction.AllocatableMemoryAvailable: {Available: 300000, Capacity: 500000}},
		},
		"version 2 without a limit": {
			cgroups: map[string]string{
				"memory.stat":          "anon 400000\nfile 300000\ninactive_file 200000\n",
				"kubepods/memory.stat": "", "kubepods/memory.current": "300000\n", "kubepods/memory.max": "max\n",
			},
			group: "/kubepods",
			want:  eviction.Observations{eviction.MemoryAvailable: {Available: 524000, Capacity: 1024000}},
		},
		"no controller": {want: eviction.Observations{eviction.MemoryAvailable: {Available: 512000, Capacity: 1024000}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(Config{Root: t.TempDir(), Proc: write(t, map[string]string{"meminfo": info}), Cgroups: write(t, tt.cgroups), PodsGroup: func() string { return tt.group }})
			seen := make(eviction.Observations)
			m.readMemory(seen)
			for s, want := range tt.want {
				if seen[s] != want {
					t.Errorf("%s: %+v, want %+v", s, seen[s], want)
				}
			}
			if len(seen) != len(tt.want) {
				t.Errorf("%+v", seen)
			}
		})
	}
}

func TestProcesses(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  eviction.Observations
	}{
		"as always":  {map[string]string{"sys/kernel/pid_max": "32768\n", "sys/kernel/threads-max": "1000\n", "loadavg": "0.20 0.18 0.12 1/80 11206\n"}, eviction.Observations{eviction.PIDAvailable: {Available: 920, Capacity: 1000}}},
		"unreadable": {map[string]string{"loadavg": "0.20"}, eviction.Observations{}},
		"nonsense":   {map[string]string{"sys/kernel/pid_max": "32768\n", "sys/kernel/threads-max": "1000\n", "loadavg": "a b c d e"}, eviction.Observations{}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(eviction.Observations)
			New(Config{Proc: write(t, tt.files)}).readProcesses(seen)
			if len(seen) != len(tt.want) || seen[eviction.PIDAvailable] != tt.want[eviction.PIDAvailable] {
				t.Errorf("%+v, want %+v", seen, tt.want)
			}
		})
	}
}

// fileSystems is a runtime that reports its file systems.
type fileSystems struct {
	images, layers string
	err            error
	asked          int
}

func (f *fileSystems) ImageFilesystems(context.Context) (images, containers []runtime.Filesystem, err error) {
	f.asked++
	at := func(dir string) []runtime.Filesystem {
		if dir == "" {
			return nil
		}
		return []runtime.Filesystem{{Mountpoint: dir}}
	}
	return at(f.images), at(f.layers), f.err
}

// TestFileSystems reads this machine's own: /proc stands for another file system.
func TestFileSystems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for name, tt := range map[string]struct {
			runtime *fileSystems
			layout  eviction.Layout
			images  bool
		}{
			"beside the volumes":            {&fileSystems{images: dir}, eviction.Layout{}, true},
			"in a folder that comes later":  {&fileSystems{images: filepath.Join(dir, "a", "b")}, eviction.Layout{}, true},
			"the runtime does not say":      {&fileSystems{err: errors.New("down")}, eviction.Layout{}, false},
			"images apart":                  {&fileSystems{images: "/sys"}, eviction.Layout{Images: true}, false},
			"images apart, layers with":     {&fileSystems{images: "/sys", layers: "/sys/kernel"}, eviction.Layout{Images: true}, false},
			"images apart, layers not":      {&fileSystems{images: "/sys", layers: dir}, eviction.Layout{Images: true, Split: true}, false},
			"layers named, all on one disk": {&fileSystems{images: dir, layers: dir}, eviction.Layout{}, true},
		} {
			m := New(Config{Root: filepath.Join(dir, "not", "there"), Runtime: tt.runtime})
			r := m.Read(t.Context())
			if r.Layout != tt.layout {
				t.Errorf("%s: %+v", name, r.Layout)
			}
			if o := r.Seen[eviction.NodeFsAvailable]; o.Capacity <= 0 || o.Available > o.Capacity {
				t.Errorf("%s: %+v", name, o)
			}
			if _, ok := r.Seen[eviction.ImageFsAvailable]; ok != tt.images {
				t.Errorf("%s: %+v", name, r.Seen)
			}
			asked := tt.runtime.asked
			m.Read(t.Context())
			if again := tt.runtime.asked > asked; again != (tt.runtime.err != nil) {
				t.Errorf("%s: asked again at once: %t", name, again)
			}
			time.Sleep(askAgain)
			m.Read(t.Context())
			if tt.runtime.asked <= asked {
				t.Errorf("%s: not asked again", name)
			}
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("MemTotal: 12 kB\n"), []byte("0.20 0.18 0.12 1/80 11206\n"))
	f.Add([]byte("max\n"), []byte("1/"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		dir := write(t, map[string]string{"meminfo": string(one), "memory.stat": string(one), "memory.current": string(two), "loadavg": string(two), "sys/kernel/pid_max": string(one), "sys/kernel/threads-max": string(two)})
		seen := make(eviction.Observations)
		m := New(Config{Proc: dir, Cgroups: dir})
		m.readMemory(seen)
		m.readProcesses(seen)
		for s, o := range seen {
			if o.Available < 0 {
				t.Errorf("%s: %+v", s, o)
			}
		}
	})
}

// BenchmarkRead is the cost of one look at this machine.
func BenchmarkRead(b *testing.B) {
	m := New(Config{Root: b.TempDir()})
	b.ReportAllocs()
	for b.Loop() {
		m.Read(b.Context())
	}
}
