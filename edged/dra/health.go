package dra

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

const (
	// healthRetry is how long to wait before a stream of health that ended is opened again.
	healthRetry = 5 * time.Second
	// healthPause is the least time between two reports of a driver that are looked at. What
	// comes sooner waits in the driver.
	healthPause = time.Second
	// healthTimeout is how long the health of a device is true where the driver does not say.
	healthTimeout = 30 * time.Second
	// maxHealth bounds the devices whose health is kept, by driver.
	maxHealth = 4096
)

// healthServices are those that this node can call (KEP-4680). They have the same messages.
var healthServices = [...]string{"v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"}

// report is what a driver said of its devices.
type report struct {
	at      time.Time
	devices []health
}

// health is what a driver said of a device. A device of few bytes must not cost many.
type health struct {
	id      string // pool and device, with a slash between
	message string
	status  healthStatus
	valid   int32 // for how many seconds
}

// healthStatus is a HealthStatus of the drivers' API.
type healthStatus uint8

const (
	healthy   healthStatus = 1
	unhealthy healthStatus = 2
)

// of finds what is said of a device. It is the zero value if that is nothing, or too old.
func (r report) of(d Device, now time.Time) health {
	id := d.Pool + "/" + d.Name
	i := slices.IndexFunc(r.devices, func(h health) bool { return h.id == id })
	if i < 0 || now.Sub(r.at) > time.Duration(r.devices[i].valid)*time.Second {
		return health{}
	}
	return r.devices[i]
}

// ResourceStatuses lists the health of the devices that a container gets of the claims that
// it names, as the API has it (KEP-4680). It is Unknown where the driver does not say. A claim
// of before Load is left out for 30 seconds, unless its drivers say something: its health is
// then what was reported before.
func (m *Manager) ResourceStatuses(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus {
	all, err := podClaims(pod)
	if err != nil {
		return nil
	}
	now := time.Now()
	var out []corev1.ResourceStatus
	for _, named := range c.Resources.Claims {
		i := slices.IndexFunc(all, func(p podClaim) bool { return p.local == named.Name })
		if i < 0 {
			continue
		}
		have, _ := m.find(pod, all[i].name)
		if m.keepsHealth(have, now) {
			continue
		}
		name := "claim:" + named.Name
		if named.Request != "" {
			name += "/" + named.Request
		}
		request, _, _ := strings.Cut(named.Request, "/") // devices carry no subrequests
		one := corev1.ResourceStatus{Name: corev1.ResourceName(name)}
		for _, d := range have.Devices {
			h := m.healthOf(d, now)
			known := func(o corev1.ResourceHealth) bool { return o.ResourceID == h.ResourceID }
			if (containerRequest{request: request}).takes(d) && !slices.ContainsFunc(one.Resources, known) {
				one.Resources = append(one.Resources, h)
			}
		}
		if len(one.Resources) > 0 {
			out = append(out, one)
		}
	}
	return out
}

// keepsHealth reports whether the health of a claim is still what an earlier life of the
// program reported: a driver of it has had no time to say anything in this one.
func (m *Manager) keepsHealth(c Claim, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := m.claims[c.UID]
	return own != nil && !own.prepared && !m.loaded.IsZero() && now.Sub(m.loaded) < healthTimeout &&
		slices.ContainsFunc(own.record.Drivers, func(d driverRecord) bool { return !m.heard[d.Name] })
}

// endKeptHealth notifies the pods, once, when keepsHealth has become false by time.
func (m *Manager) endKeptHealth(now time.Time) {
	var pods []string
	m.mu.Lock()
	if !m.loaded.IsZero() && now.Sub(m.loaded) >= healthTimeout {
		m.loaded = time.Time{}
		for _, c := range m.claims {
			if !c.prepared {
				pods = append(pods, c.record.Pods...)
			}
		}
	}
	m.mu.Unlock()
	if len(pods) > 0 {
		m.cfg.HealthChanged(pods)
	}
}

func (m *Manager) healthOf(d Device, now time.Time) corev1.ResourceHealth {
	out := corev1.ResourceHealth{ResourceID: corev1.ResourceID(fmt.Sprintf("%s/%s/%s", d.Driver, d.Pool, d.Name)), Health: corev1.ResourceHealthStatusUnknown}
	if len(d.CDI) > 0 {
		out.ResourceID = corev1.ResourceID(d.CDI[0])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.health[d.Driver].of(d, now)
	switch h.status {
	case healthy:
		out.Health = corev1.ResourceHealthStatusHealthy
	case unhealthy:
		out.Health = corev1.ResourceHealthStatusUnhealthy
	}
	if h.message != "" {
		out.Message = &h.message
	}
	return out
}

// watchHealth starts to follow the health of drivers that came.
func (m *Manager) watchHealth(ctx context.Context, g *errgroup.Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, plugins := range m.drivers {
		for _, d := range plugins {
			if d.health != "" && !d.watched {
				d.watched = true
				g.Go(func() error {
					m.followHealth(ctx, d)
					return nil
				})
			}
		}
	}
}

// followHealth follows the health of a driver's devices until it goes or ctx ends.
func (m *Manager) followHealth(ctx context.Context, d *driver) {
	for {
		err := pluginrpc.Stream(ctx, d.conn, "/"+d.health+"/NodeWatchResources", nil, func(answer protomsg.Message) error {
			all, err := readHealth(answer)
			if err != nil {
				return err
			}
			m.setHealth(d.plugin.Name, report{time.Now(), all})
			return pause(ctx, d, healthPause)
		}, grpc.WaitForReady(true))
		m.setHealth(d.plugin.Name, report{})
		if status.Code(err) == codes.Unimplemented {
			return // a driver that learns it registers again
		}
		if pause(ctx, d, healthRetry) != nil {
			return
		}
		m.cfg.Logger.Debug("the health of a DRA driver's devices ended; asking again", "driver", d.plugin.Name, "err", err)
	}
}

// pause waits. It returns an error if the driver is gone or ctx has ended.
func pause(ctx context.Context, d *driver, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.gone:
		return context.Canceled
	case <-time.After(t):
		return nil
	}
}

// setHealth replaces what is known of a driver's devices, and notifies the pods of those that
// changed.
func (m *Manager) setHealth(driver string, is report) {
	now := time.Now()
	m.mu.Lock()
	was := m.health[driver]
	first := len(is.devices) > 0 && !m.heard[driver]
	if len(is.devices) > 0 {
		m.health[driver], m.heard[driver] = is, true
	} else {
		delete(m.health, driver)
	}
	var pods []string
	for _, c := range m.claims {
		for _, d := range c.record.Drivers {
			if d.Name == driver && slices.ContainsFunc(d.Devices, func(d Device) bool {
				if first && !c.prepared {
					return true // it was what an earlier life of the program reported
				}
				a, b := was.of(d, was.at), is.of(d, now) // an answer that grew old was shown until now
				return a.status != b.status || a.message != b.message
			}) {
				pods = append(pods, c.record.Pods...)
			}
		}
	}
	m.mu.Unlock()
	if len(pods) > 0 {
		m.cfg.HealthChanged(pods)
	}
}

// readHealth reads a NodeWatchResourcesResponse (dra-health/v1/api.proto).
func readHealth(data []byte) ([]health, error) {
	count := 0
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number == 1 && len(f.Bytes) >= minDevice {
			count++
		}
		return nil
	})
	if err == nil && count > maxHealth {
		err = fmt.Errorf("dra: %d devices in a report of health, at most %d may be", count, maxHealth)
	}
	if err != nil {
		return nil, err
	}
	all := make([]health, 0, count)
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number != 1 || len(f.Bytes) < minDevice {
			return nil // it names no device
		}
		h, err := readDeviceHealth(f.Bytes)
		all = append(all, h)
		return err
	})
	return all, err
}

// readDeviceHealth reads a DeviceHealth.
func readDeviceHealth(data []byte) (health, error) {
	h := health{valid: int32(healthTimeout / time.Second)}
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			var pool, name []byte
			err := protomsg.EachField(f.Bytes, func(f protomsg.Field) error {
				switch f.Number {
				case 1:
					pool = f.Bytes
				case 2:
					name = f.Bytes
				}
				return nil
			})
			h.id = string(pool) + "/" + string(name)
			return err
		case 2:
			if f.Value == int64(healthy) || f.Value == int64(unhealthy) {
				h.status = healthStatus(f.Value)
			}
		case 4:
			if f.Value > 0 {
				h.valid = int32(min(f.Value, int64(24*time.Hour/time.Second)))
			}
		case 5:
			h.message = string(f.Bytes)
			if len(h.message) > corev1.ResourceHealthMessageMaxLength {
				h.message = strings.ToValidUTF8(h.message[:corev1.ResourceHealthMessageMaxLength-3], "") + "..."
			}
		}
		return nil
	})
	return h, err
}
