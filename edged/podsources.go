package edged

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/static"
)

// podSources is where pods come from: the API server, through Objects, and the
// folder of static pods. It belongs to the goroutine of Agent.Run.
type podSources struct {
	pods  <-chan []*corev1.Pod
	files <-chan []*corev1.Pod // nil without a folder

	listed  bool                   // the first list of each source came
	api     []*corev1.Pod          // as last listed, without mirrors
	mirrors map[string]*corev1.Pod // what the API server shows of static pods, by namespace/name
	static  []*corev1.Pod
}

// followSources begins to follow both sources. What it starts is added to wg.
func (a *Agent) followSources(ctx context.Context, wg *sync.WaitGroup) (*podSources, error) {
	pods, err := a.cfg.Objects.Pods(ctx)
	if err != nil {
		return nil, err
	}
	in := &podSources{pods: pods}
	if a.folder != nil {
		files := make(chan []*corev1.Pod, 1)
		in.files = files
		wg.Go(func() {
			_ = a.folder.Run(ctx, func(list []*corev1.Pod) { // it ends with ctx
				select {
				case <-files: // the newest list counts
				default:
				}
				files <- list
			})
		})
	}
	return in, nil
}

// waitForFirst waits for the first list of each source, unless both came already. It is
// false when ctx ended before.
func (in *podSources) waitForFirst(ctx context.Context) bool {
	if in.listed {
		return in.takeNewer()
	}
	select {
	case <-ctx.Done():
		return false
	case list, ok := <-in.pods:
		if !ok {
			return false
		}
		in.setAPIPods(list)
	}
	if in.files != nil {
		select {
		case <-ctx.Done():
			return false
		case in.static = <-in.files:
		}
	}
	in.listed = true
	return true
}

// takeNewer takes the newer lists that have come, without waiting for any. It is false
// when Objects.Pods has ended.
func (in *podSources) takeNewer() bool {
	select {
	case list, ok := <-in.pods:
		if !ok {
			return false
		}
		in.setAPIPods(list)
	default:
	}
	select {
	case in.static = <-in.files:
	default:
	}
	return true
}

// setAPIPods takes a list of the API server and sets mirrors of static pods apart:
// they are shown, not run.
func (in *podSources) setAPIPods(list []*corev1.Pod) {
	in.api, in.mirrors = nil, make(map[string]*corev1.Pod)
	for _, p := range list {
		if static.IsMirror(p) {
			in.mirrors[p.Namespace+"/"+p.Name] = p
		} else {
			in.api = append(in.api, p)
		}
	}
}

// all lists the pods to run, static ones first: they are admitted before others.
func (in *podSources) all() []*corev1.Pod { return slices.Concat(in.static, in.api) }

// syncMirrors has the API server show the static pods that there are, and no
// others. It reports whether all reports could be made. What the API server makes
// of them shows in a later list.
func (a *Agent) syncMirrors(ctx context.Context, in *podSources) bool {
	reports, ok := a.cfg.Reports.(Mirrorer)
	if !ok {
		return true
	}
	said := true
	gone := func(m *corev1.Pod) {
		if err := a.cfg.Reports.PodGone(ctx, m); err != nil {
			said = false
		}
	}
	wanted := make(map[string]bool)
	for _, p := range in.static {
		title := p.Namespace + "/" + p.Name
		wanted[title] = true
		m := in.mirrors[title]
		switch {
		case m == nil:
			if err := reports.MirrorPod(ctx, static.Mirror(p)); err != nil {
				said = false
			}
		case m.DeletionTimestamp != nil || m.Annotations[corev1.MirrorPodAnnotationKey] != string(p.UID):
			gone(m)
		default:
			a.mu.Lock()
			w := a.workers[p.UID]
			a.mu.Unlock()
			if w != nil {
				w.setMirrorUID(m.UID)
			}
		}
	}
	for title, m := range in.mirrors {
		if !wanted[title] {
			gone(m)
		}
	}
	if !said && ctx.Err() == nil {
		a.log.Warn("cannot report static pods; trying again")
	}
	return said
}
