package edged

import (
	"context"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/static"
)

// podSources is where pods come from: the API server, through Objects, and the
// folder and the URL of static pods. It belongs to the goroutine of Agent.Run.
type podSources struct {
	pods      <-chan []*corev1.Pod
	files     <-chan []*corev1.Pod // nil without a folder
	manifests <-chan []*corev1.Pod // nil without a URL

	listed  bool                   // the first list of each source came
	api     []*corev1.Pod          // as last listed, without mirrors
	mirrors map[string]*corev1.Pod // what the API server shows of static pods, by namespace/name
	static  []*corev1.Pod          // of the folder
	remote  []*corev1.Pod          // of the URL
}

// newStaticSources makes what reads static pods.
func (a *Agent) newStaticSources() (err error) {
	if dir := a.cfg.StaticPodDir; dir != "" {
		if a.folder, err = static.New(static.Config{Dir: dir, Node: a.cfg.NodeName, Every: a.cfg.StaticPodDirCheck, Logger: a.log}); err != nil {
			return err
		}
	}
	if url := a.cfg.StaticPodURL; url != "" {
		a.manifests, err = static.NewURL(static.URLConfig{
			URL: url, Header: a.cfg.StaticPodURLHeader, Node: a.cfg.NodeName, Every: a.cfg.StaticPodURLCheck,
			File: filepath.Join(a.cfg.Root, "static-pods-from-url"), Logger: a.log,
		})
	}
	return err
}

// follow runs a source of static pods, and gives the channel of its lists: the newest
// counts.
func follow(ctx context.Context, wg *sync.WaitGroup, run func(context.Context, func([]*corev1.Pod)) error) <-chan []*corev1.Pod {
	lists := make(chan []*corev1.Pod, 1)
	wg.Go(func() {
		_ = run(ctx, func(list []*corev1.Pod) { // it ends with ctx
			select {
			case <-lists:
			default:
			}
			lists <- list // has room: nobody else sends
		})
	})
	return lists
}

// followSources begins to follow all sources. What it starts is added to wg.
func (a *Agent) followSources(ctx context.Context, wg *sync.WaitGroup) (*podSources, error) {
	pods, err := a.cfg.Objects.Pods(ctx)
	if err != nil {
		return nil, err
	}
	in := &podSources{pods: pods}
	if a.folder != nil {
		in.files = follow(ctx, wg, a.folder.Run)
	}
	if a.manifests != nil {
		in.manifests = follow(ctx, wg, a.manifests.Run)
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
	if in.manifests != nil {
		select {
		case <-ctx.Done():
			return false
		case in.remote = <-in.manifests:
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
	select {
	case in.remote = <-in.manifests:
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
func (in *podSources) all() []*corev1.Pod { return slices.Concat(in.nodesOwn(), in.api) }

// nodesOwn lists the static pods. One of the URL that has the name of one of the folder
// is left out.
func (in *podSources) nodesOwn() []*corev1.Pod {
	out := slices.Clone(in.static)
	for _, p := range in.remote {
		if !slices.ContainsFunc(in.static, func(o *corev1.Pod) bool { return o.Name == p.Name && o.Namespace == p.Namespace }) {
			out = append(out, p)
		}
	}
	return out
}

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
	for _, p := range in.nodesOwn() {
		title := p.Namespace + "/" + p.Name
		wanted[title] = true
		m := in.mirrors[title]
		switch {
		case m == nil:
			if err := reports.MirrorPod(ctx, static.Mirror(p)); err != nil {
				said = false
			}
		case m.DeletionTimestamp != nil || m.Annotations[corev1.MirrorPodAnnotationKey] != string(p.UID), endedByShutdown(&m.Status) && !a.shuttingDown():
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
