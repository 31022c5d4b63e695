package nodeidentity

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	"github.com/edgekit/edgekit/hub/join"
)

// WatchConfig sets up a Watcher.
type WatchConfig struct {
	Logger *slog.Logger // nil discards
}

// Changes are the functions that a Watcher calls. They are called from one
// goroutine, must return soon, and may be nil.
type Changes struct {
	// Authorities is called with the present authorities, and after each change. Those
	// that cannot be used are logged and left out.
	Authorities func(join.Authorities)
	// Revoked is called with true when the key with that hash was revoked, and with false
	// when the revocation was removed.
	Revoked func(keyHash string, revoked bool)
	// RevokedBecause, if not nil, is called instead of Revoked for a key that was revoked,
	// with the reason: a join.ErrRevoked.
	RevokedBecause func(keyHash string, why error)
	// Names is called with the keys of a node's name (see join.KeyReplacer): with the
	// present ones, after each change, and with none when the name was freed. nil: names
	// are not followed.
	Names func(node string, keys []string)
}

// Watcher follows the changes of other programs: to the authorities, the revoked keys and the
// names. It needs one watch, and 1 KiB of memory for each node.
type Watcher struct {
	store    *Store
	log      *slog.Logger
	guard    runguard.Guard
	changes  Changes // as given to Run, and the selector that goes with them
	selector string
	secrets  *cache.Store[*corev1.Secret]
}

// Watch makes a Watcher. Its Run starts it.
func (s *Store) Watch(cfg WatchConfig) (*Watcher, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{store: s, log: cfg.Logger}
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.LabelSelector = w.selector
		return s.secrets.List(ctx, o)
	}
	follow := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = w.selector
		return s.secrets.Watch(ctx, o)
	}
	var err error
	w.secrets, err = cache.New(cache.Config[*corev1.Secret]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(
			&toolscache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, s.cfg.Client),
		Type: &corev1.Secret{}, Strip: stripClaims(), Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	w.secrets.OnChange(w.secretChanged)
	return w, nil
}

// stripClaims removes from a claim, of which there are many, what Changes does not need.
func stripClaims() func(*corev1.Secret) {
	labels := map[string]string{KindLabel: KindNode} // of all of them; objects of a store do not change
	return func(s *corev1.Secret) {
		if s.Labels[KindLabel] != KindNode {
			return
		}
		s.Type, s.Annotations, s.OwnerReferences, s.Labels = "", nil, nil, labels
		maps.DeleteFunc(s.Data, func(field string, _ []byte) bool {
			return field != fieldNode && field != fieldKey && field != fieldKeyBefore && field != fieldUntil && field != fieldApproval
		})
	}
}

// Run watches and calls changes until ctx ends; it then returns nil. A second
// Run returns controller.ErrStarted.
func (w *Watcher) Run(ctx context.Context, changes Changes) error {
	if err := w.guard.Start(); err != nil {
		return err
	}
	kinds := []string{KindCA, KindRevoked}
	if changes.Names != nil {
		kinds = append(kinds, KindNode)
	}
	// Only the goroutines of the store, which start below, read these.
	w.changes, w.selector = changes, KindLabel+" in ("+strings.Join(kinds, ",")+")"
	return w.secrets.Run(ctx)
}

// Synced is closed when Changes has received everything that existed at the start.
func (w *Watcher) Synced() <-chan struct{} { return w.secrets.Synced() }

func (w *Watcher) secretChanged(c cache.Change[*corev1.Secret]) {
	s, there := c.New, c.New != nil
	if !there {
		s = c.Old
	}
	switch {
	case s == nil || there && c.Same:
	case s.Labels[KindLabel] == KindRevoked:
		if key := string(s.Data[fieldKey]); s.Name == secretName(KindRevoked, key) {
			w.keyRevoked(key, Reason(s.Data[fieldReason]), there)
		}
	case s.Labels[KindLabel] == KindNode:
		node := string(s.Data[fieldNode])
		if w.changes.Names == nil || s.Name != secretName(KindNode, node) {
			return
		}
		var keys []string
		if there {
			keys = keysOf(s)
		}
		w.changes.Names(node, keys)
	case s.Name == CAName && there && w.changes.Authorities != nil:
		a, err := w.store.parseAuthorities(s)
		if err != nil {
			w.log.Error("the changed certificate authorities cannot be used", "err", err)
			return
		}
		w.changes.Authorities(a)
	case s.Name == CAName && !there:
		w.log.Error("certificate authorities were removed: they stay in use until cloudcore restarts, and then all nodes must join again",
			"err", errors.New("secret "+w.store.cfg.Namespace+"/"+CAName+" is gone"))
	}
}

func (w *Watcher) keyRevoked(key string, why Reason, revoked bool) {
	switch {
	case revoked && w.changes.RevokedBecause != nil:
		w.changes.RevokedBecause(key, why.Err())
	case w.changes.Revoked != nil:
		w.changes.Revoked(key, revoked)
	}
}

// CertificateStats are numbers of nodes.
type CertificateStats struct {
	Valid   int // nodes whose certificate, as far as is known, is good for longer than a week
	Ending  int // nodes whose certificate ends within a week
	Ended   int // nodes whose certificate has ended; they renew when they are back
	Waiting int // machines that wait for an approval
}

// endingSoon is the time before its end in which a certificate should have been renewed,
// whatever its life.
const endingSoon = 7 * 24 * time.Hour

// Certificates counts the nodes by when their certificates end. Names must be followed, see
// Changes.
func (w *Watcher) Certificates(now time.Time) CertificateStats {
	var out CertificateStats
	for _, name := range w.secrets.Names() {
		item, ok := w.secrets.Load(name)
		if !ok || item.Object.Labels[KindLabel] != KindNode || len(item.Object.Data[fieldKey]) == 0 {
			continue
		}
		if string(item.Object.Data[fieldApproval]) == stateWaits {
			out.Waiting++
			continue
		}
		until, err := time.Parse(time.RFC3339, string(item.Object.Data[fieldUntil]))
		switch left := until.Sub(now); {
		case err != nil:
			// it joined a moment ago
		case left <= 0:
			out.Ended++
		case left < endingSoon:
			out.Ending++
		default:
			out.Valid++
		}
	}
	return out
}
