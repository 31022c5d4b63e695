package podsources

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/static"
)

// Objects lists the pods that are bound to the node. An edged.Objects is one.
type Objects interface {
	// Pods lists the pods at once, and again after each change. The channel holds the newest list.
	Pods(ctx context.Context) (<-chan []*corev1.Pod, error)
}

// Config sets up a Sources. Objects, Node and Logger are required.
type Config struct {
	Objects Objects
	Node    string
	Logger  *slog.Logger

	Dir      string        // folder of static pods; "" means none
	DirCheck time.Duration // how often it is looked at; 0 means the default of package static

	URL       string // web server that has static pods; "" means none
	URLHeader http.Header
	URLCheck  time.Duration // how often it is asked; 0 means the default of package static
	URLFile   string        // remembers its last answer
}

// Sources are where the pods of a node come from. New makes it.
type Sources struct {
	API    <-chan []*corev1.Pod // it ends when Objects does
	Folder <-chan []*corev1.Pod // nil without a folder
	URL    <-chan []*corev1.Pod // nil without a URL

	objects   Objects
	folder    *static.Folder
	manifests *static.URL

	listed  bool                   // the first list of each source came
	api     []*corev1.Pod          // as last listed, without mirrors
	mirrors map[string]*corev1.Pod // what the API server shows of static pods, by namespace/name
	static  []*corev1.Pod          // of the folder
	remote  []*corev1.Pod          // of the URL
}

// New checks cfg and makes a Sources. It does no I/O.
func New(cfg Config) (s *Sources, err error) {
	s = &Sources{objects: cfg.Objects}
	if cfg.Dir != "" {
		if s.folder, err = static.New(static.Config{Dir: cfg.Dir, Node: cfg.Node, Every: cfg.DirCheck, Logger: cfg.Logger}); err != nil {
			return nil, err
		}
	}
	if cfg.URL != "" {
		s.manifests, err = static.NewURL(static.URLConfig{URL: cfg.URL, Header: cfg.URLHeader, Node: cfg.Node, Every: cfg.URLCheck, File: cfg.URLFile, Logger: cfg.Logger})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Follow begins to follow all sources, once. start runs what it is given in a goroutine of the
// caller's, which ends with ctx.
func (s *Sources) Follow(ctx context.Context, start func(func())) (err error) {
	if s.API, err = s.objects.Pods(ctx); err != nil {
		return err
	}
	if s.folder != nil {
		s.Folder = follow(ctx, start, s.folder.Run)
	}
	if s.manifests != nil {
		s.URL = follow(ctx, start, s.manifests.Run)
	}
	return nil
}

// follow runs a source of static pods, and gives the channel of its lists: the newest
// counts.
func follow(ctx context.Context, start func(func()), run func(context.Context, func([]*corev1.Pod)) error) <-chan []*corev1.Pod {
	lists := make(chan []*corev1.Pod, 1)
	start(func() {
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

// WaitForFirst waits for the first list of each source, unless both came already. It is
// false when ctx ended before.
func (s *Sources) WaitForFirst(ctx context.Context) bool {
	if s.listed {
		return s.takeNewer()
	}
	select {
	case <-ctx.Done():
		return false
	case list, ok := <-s.API:
		if !ok {
			return false
		}
		s.SetAPI(list)
	}
	if s.Folder != nil {
		select {
		case <-ctx.Done():
			return false
		case s.static = <-s.Folder:
		}
	}
	if s.URL != nil {
		select {
		case <-ctx.Done():
			return false
		case s.remote = <-s.URL:
		}
	}
	s.listed = true
	return true
}

// takeNewer takes the newer lists that have come, without waiting for any. It is false
// when Objects.Pods has ended.
func (s *Sources) takeNewer() bool {
	select {
	case list, ok := <-s.API:
		if !ok {
			return false
		}
		s.SetAPI(list)
	default:
	}
	select {
	case s.static = <-s.Folder:
	default:
	}
	select {
	case s.remote = <-s.URL:
	default:
	}
	return true
}

// SetAPI takes a list of the API server and sets mirrors of static pods apart:
// they are shown, not run.
func (s *Sources) SetAPI(list []*corev1.Pod) {
	s.api, s.mirrors = nil, make(map[string]*corev1.Pod)
	for _, p := range list {
		if static.IsMirror(p) {
			s.mirrors[p.Namespace+"/"+p.Name] = p
		} else {
			s.api = append(s.api, p)
		}
	}
}

// All lists the pods to run, static ones first: they are admitted before others.
func (s *Sources) All() []*corev1.Pod { return slices.Concat(s.Static(), s.api) }

// Static lists the static pods. One of the URL that has the name of one of the folder
// is left out.
func (s *Sources) Static() []*corev1.Pod {
	out := slices.Clone(s.static)
	for _, p := range s.remote {
		if !slices.ContainsFunc(s.static, func(o *corev1.Pod) bool { return o.Name == p.Name && o.Namespace == p.Namespace }) {
			out = append(out, p)
		}
	}
	return out
}

// SetFolder takes a list of the folder.
func (s *Sources) SetFolder(list []*corev1.Pod) { s.static = list }

// SetURL takes a list of the web server.
func (s *Sources) SetURL(list []*corev1.Pod) { s.remote = list }

// Mirror is the mirror pod that the API server shows of this very static pod; nil if it shows
// none.
func (s *Sources) Mirror(pod *corev1.Pod) *corev1.Pod {
	m := s.mirrors[pod.Namespace+"/"+pod.Name]
	if m == nil || m.Annotations[corev1.MirrorPodAnnotationKey] != string(pod.UID) {
		return nil
	}
	return m
}

// Mirrorer has the API server show static pods. A Reports of package edged may be one.
type Mirrorer interface {
	// MirrorPod reports the mirror of a static pod, and PodGone that a mirror is to go.
	MirrorPod(ctx context.Context, pod *corev1.Pod) error
	PodGone(ctx context.Context, pod *corev1.Pod) error
}

// SyncMirrors has the API server show the static pods that there are, and no others. A mirror
// with a status that replace reports true for is replaced. It returns the uids of the mirrors that
// are shown, by those of their pods, and whether all reports could be made. What the API server
// makes of them shows in a later list.
func (s *Sources) SyncMirrors(ctx context.Context, to Mirrorer, replace func(*corev1.PodStatus) bool) (shown map[types.UID]types.UID, ok bool) {
	shown, ok = make(map[types.UID]types.UID), true
	report := func(err error) { ok = ok && err == nil }
	wanted := make(map[string]bool)
	for _, p := range s.Static() {
		title := p.Namespace + "/" + p.Name
		wanted[title] = true
		switch m := s.mirrors[title]; {
		case m == nil:
			report(to.MirrorPod(ctx, static.Mirror(p)))
		case m.DeletionTimestamp != nil || s.Mirror(p) == nil || replace(&m.Status):
			report(to.PodGone(ctx, m))
		default:
			shown[p.UID] = m.UID
		}
	}
	for title, m := range s.mirrors {
		if !wanted[title] {
			report(to.PodGone(ctx, m))
		}
	}
	return shown, ok
}
