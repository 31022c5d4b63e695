package volume

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// usageLife is for how long it is not looked again how full a volume is: a kubelet's
	// volumeStatsAggPeriod.
	usageLife = time.Minute
	// usageTimeout bounds the question to a driver.
	usageTimeout = 10 * time.Second
)

// Usage is how full a volume of a pod is that outlives it.
type Usage struct {
	Volume string // the pod's name for it
	Claim  string // of the pod's namespace; "" for an inline volume
	Time   time.Time
	CSIUsage
}

// usages remembers how full the volumes were.
type usages struct {
	mu   sync.Mutex
	last map[string]map[string]Usage // by pod and volume
}

func (u *usages) load(uid, volume string) (Usage, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	last, ok := u.last[uid][volume]
	return last, ok
}

func (u *usages) store(uid string, usage Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = make(map[string]map[string]Usage)
	}
	if u.last[uid] == nil {
		u.last[uid] = make(map[string]Usage)
	}
	u.last[uid][usage.Volume] = usage
}

func (u *usages) drop(uid string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.last, uid)
}

// Usage says how full the persistent and inline volumes of a pod are, each as it was at
// most a minute ago. What cannot be found out is left out: a device, a driver that does
// not say, and NFS, whose server may be away and would then be waited for.
func (m *Manager) Usage(ctx context.Context, pod *corev1.Pod) []Usage {
	uid := string(pod.UID)
	var out []Usage
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		src := claimSource(pod, v)
		if _, inline := inlineStorage(pod, v); !inline && src == nil {
			continue
		}
		r, err := m.record(uid, v.Name)
		if err != nil || !r.Done || r.Block || r.Kind == kindNFS {
			continue
		}
		u, known := m.usages.load(uid, v.Name)
		if !known || time.Since(u.Time) >= usageLife {
			measured, err := m.measure(ctx, r)
			if err != nil {
				m.cfg.Logger.Debug("cannot find out how full a volume is", "volume", r.Name, "err", err)
				continue
			}
			u = Usage{Volume: v.Name, Time: time.Now(), CSIUsage: measured}
			if src != nil {
				u.Claim = src.ClaimName
			}
			m.usages.store(uid, u)
		}
		if u.Bytes > 0 {
			out = append(out, u)
		}
	}
	return out
}

// measure looks at a volume's file system, or asks its driver.
func (m *Manager) measure(ctx context.Context, r record) (CSIUsage, error) {
	if r.Kind != kindCSI {
		return fileSystemUsage(r.Path)
	}
	node, err := m.driverNode(r.Driver)
	if err != nil {
		return CSIUsage{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	can, err := node.Capabilities(ctx)
	if err != nil || !can.Stats {
		return CSIUsage{}, err
	}
	stage := ""
	if can.Stage {
		stage = stagingMount(m.stagingDir(r.Driver, r.Handle))
	}
	return node.Stats(ctx, r.Handle, r.Path, stage)
}
