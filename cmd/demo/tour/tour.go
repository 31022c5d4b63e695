package tour

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

// Names of what the tour makes.
const (
	Node      = "edge-1"
	Namespace = "demo"
	App       = "web"
	Device    = "thermometer"
)

// Tour is one run through the story. Its steps share what earlier ones found.
type Tour struct {
	site *site.Site
	pod  *corev1.Pod // the app's pod, from the step that deploys it on
}

// New makes a tour of a site.
func New(s *site.Site) *Tour { return &Tour{site: s} }

// Step is one part of the story.
type Step struct {
	Title string
	// do makes it happen and returns once it has, with what was seen: a line
	// or two for people.
	do func(ctx context.Context) (seen string, err error)
	// See are the commands that show the same by hand.
	See []string
	// Within bounds Run.
	Within time.Duration
}

// Steps lists the story in its order. A step needs those before it.
func (t *Tour) Steps() []Step {
	return []Step{
		{"A Kubernetes control plane, and a container runtime for the edge node", t.cluster,
			[]string{"kubectl get --raw '/readyz?verbose'"}, time.Hour},
		{"cloudcore starts in the cloud and brings its device resources", t.cloud,
			[]string{"kubectl get crd", "kubectl api-resources --api-group=devices.kubeedge.io"}, 5 * time.Minute},
		{"An edge node joins with a token and becomes Ready", t.join,
			[]string{"kubectl get nodes -o wide", "kubectl describe node " + Node}, 2 * time.Minute},
		{"A Deployment is scheduled to the edge node and its pod answers", t.app,
			[]string{"kubectl -n demo get pods -o wide", "kubectl -n demo get events"}, 2 * time.Minute},
		{"A Device gets a desired value, its mapper applies it and reports", t.device,
			[]string{"kubectl -n demo get devices", "kubectl -n demo get devicestatus " + Device + " -o yaml"}, 2 * time.Minute},
		{"The link is cut and edgecore restarted: pod and twin go on", t.cut,
			[]string{"kubectl describe node " + Node + "   # within a minute EdgeConnected turns False; Ready stays, so nothing is evicted"}, 2 * time.Minute},
		{"The link returns: what changed meanwhile arrives, and all is in step", t.mend,
			[]string{"kubectl -n demo get pods -o wide   # restarts: 0", "kubectl -n demo get devicestatus " + Device + " -o yaml"}, 2 * time.Minute},
	}
}

// Show runs all steps and writes to out what happens. It stops at the first that
// fails.
func (t *Tour) Show(ctx context.Context, out io.Writer) error {
	steps := t.Steps()
	began := time.Now()
	for i, s := range steps {
		fmt.Fprintf(out, "\n[%d/%d] %s\n", i+1, len(steps), s.Title)
		start := time.Now()
		seen, err := s.Run(ctx)
		if err != nil {
			fmt.Fprintf(out, "      FAILED after %s\n", round(start))
			return fmt.Errorf("step %d of %d (%s): %w", i+1, len(steps), s.Title, err)
		}
		fmt.Fprintf(out, "      %s\n      done in %s\n", seen, round(start))
		for _, see := range s.See {
			fmt.Fprintf(out, "      see: %s\n", see)
		}
	}
	fmt.Fprintf(out, "\nAll %d steps happened, in %s.\n", len(steps), round(began))
	return nil
}

// Run runs the step within its time.
func (s Step) Run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Within)
	defer cancel()
	return s.do(ctx)
}

func round(since time.Time) string { return time.Since(since).Round(100 * time.Millisecond).String() }

// eventually calls ok twice a second until it returns nil. When ctx ends
// first, the last error is in the one returned.
func eventually(ctx context.Context, ok func(context.Context) error) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; the last try: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
