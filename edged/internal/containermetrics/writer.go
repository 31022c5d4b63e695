package containermetrics

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Runtime is what of a runtime says which containers there are.
type Runtime interface {
	ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error)
	ListSandboxes(ctx context.Context, podUID string) ([]runtime.Sandbox, error)
}

// Config sets up a Writer. Runtime is required.
type Config struct {
	Runtime Runtime
	// PodsGroup is the control group of all pods, such as /kubepods. With nil, or while it is "",
	// only the machine is shown.
	PodsGroup func() string
	// Pods are the pods of the node, for the names of images; nil leaves the names to the runtime.
	Pods func() []*corev1.Pod
	// SystemInfo is what the Node says of the machine; nil leaves it out.
	SystemInfo func() corev1.NodeSystemInfo
	// SandboxImage is the reference of the image of sandboxes; nil means that it is not known.
	SandboxImage func(ctx context.Context) (string, error)

	Mount string // where control groups are mounted; "" means /sys/fs/cgroup
	Proc  string // where proc is mounted; "" means /proc
	Sys   string // where sysfs is mounted; "" means /sys
}

// Writer writes metrics. Its methods may be called by several goroutines.
type Writer struct {
	cfg Config
	v2  bool
}

// New makes a Writer. It looks which version of control groups the machine has.
func New(cfg Config) *Writer {
	def := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	def(&cfg.Mount, "/sys/fs/cgroup")
	def(&cfg.Proc, "/proc")
	def(&cfg.Sys, "/sys")
	return &Writer{cfg: cfg, v2: cgroup.New(cgroup.Config{Mount: cfg.Mount}).V2()}
}

// Write writes the metrics in Prometheus' text format. If the runtime does not say which
// containers there are, container_scrape_error is 1, the machine is shown, and no error is
// returned, as a kubelet does. An error is one of to.
func (w *Writer) Write(ctx context.Context, to io.Writer) error {
	r := w.reader()
	root := group{labels: appendLabels(nil, "", "/", "", "", "", "")}
	memory, swap := r.readMachine(&root)
	groups := append(make([]group, 0, 64), root)
	err := w.readPods(ctx, r, &groups)
	now := uint64(time.Now().Unix())
	for i := range groups {
		groups[i].set(lastSeen, now)
	}
	t := &text{to: bufio.NewWriterSize(to, 16<<10)}
	info := w.systemInfo()
	t.version(info)
	for _, f := range families() {
		t.family(f, groups)
	}
	t.disks(groups)
	t.filesystems(groups[0].usage, groups[0].labels)
	t.links(groups)
	t.scrapeError("container", err)
	t.machine(r, info, memory, swap)
	return t.to.Flush()
}

func (w *Writer) systemInfo() (info corev1.NodeSystemInfo) {
	if w.cfg.SystemInfo != nil {
		info = w.cfg.SystemInfo()
	}
	return info
}

// readPods reads the groups of pods.
func (w *Writer) readPods(ctx context.Context, r *reader, groups *[]group) error {
	top := ""
	if w.cfg.PodsGroup != nil {
		top = w.cfg.PodsGroup()
	}
	if top == "" {
		return nil
	}
	sandboxes, err := w.cfg.Runtime.ListSandboxes(ctx, "")
	containers, listErr := w.cfg.Runtime.ListContainers(ctx, "")
	if err = errors.Join(err, listErr); err != nil {
		return err
	}
	image := ""
	if w.cfg.SandboxImage != nil {
		image, _ = w.cfg.SandboxImage(ctx) // a name for people: the numbers are what counts
	}
	var pods []*corev1.Pod
	if w.cfg.Pods != nil {
		pods = w.cfg.Pods()
	}
	r.walk(top, newOwners(sandboxes, containers, pods, image), func(dir string, o owner) {
		if ctx.Err() != nil {
			return
		}
		g := group{dir: dir, labels: appendLabels(nil, o.container, dir, o.image, o.name, o.namespace, o.pod)}
		r.read(&g)
		if !g.has[cpuUsage] && !g.has[memoryUsage] {
			return // it ended meanwhile
		}
		if o.sandbox {
			r.network(&g)
		}
		g.value[created], g.has[created] = g.value[started], g.has[started]
		if !o.created.IsZero() {
			g.set(created, uint64(o.created.Unix()))
		}
		*groups = append(*groups, g)
	})
	return ctx.Err()
}

// text writes Prometheus' text format. The first error of the writer stays in it.
type text struct {
	to   *bufio.Writer
	line []byte
}

func (t *text) head(name, help string, counter bool) {
	kind := "gauge"
	if counter {
		kind = "counter"
	}
	t.put("# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n")
}

func (t *text) put(parts ...string) {
	for _, p := range parts {
		_, _ = t.to.WriteString(p) // Flush returns its error
	}
}

// sample writes one value. The labels are without braces; more is added to them.
func (t *text) sample(name string, labels []byte, more string, value uint64, divisor float64) {
	b := append(append(t.line[:0], name...), '{')
	b = append(b, labels...)
	if more != "" {
		if len(labels) > 0 {
			b = append(b, ',')
		}
		b = append(b, more...)
	}
	b = append(b, '}', ' ')
	if divisor > 1 {
		b = strconv.AppendFloat(b, float64(value)/divisor, 'g', -1, 64)
	} else {
		b = strconv.AppendUint(b, value, 10)
	}
	t.line = append(b, '\n')
	_, _ = t.to.Write(t.line) // Flush returns its error
}
