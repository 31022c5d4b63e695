package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Prepare has the drivers prepare all claims of a pod. It returns when the devices of all
// are known and kept. What it has done before an error stays; Unprepare takes that back.
func (m *Manager) Prepare(ctx context.Context, pod *corev1.Pod) error {
	began := time.Now()
	err := m.prepare(ctx, pod)
	m.observe("PrepareResources", began, err)
	if err != nil {
		return fmt.Errorf("prepare dynamic resources: %w", err)
	}
	return nil
}

func (m *Manager) prepare(ctx context.Context, pod *corev1.Pod) error {
	wanted, err := podClaims(pod)
	if err != nil {
		return err
	}
	// All is checked before the first claim is noted as used: a pod whose driver was never
	// there can then be deleted without that driver.
	records := make([]*record, len(wanted))
	for i, w := range wanted {
		if records[i], err = m.read(ctx, pod, w); err != nil {
			return err
		}
		if err := m.checkNew(records[i]); err != nil {
			return err
		}
	}
	for _, r := range records {
		if err := m.prepareClaim(ctx, string(pod.UID), r); err != nil {
			return err
		}
	}
	return nil
}

// checkNew says what keeps a claim from being prepared that is not yet: a driver that is
// not there, or an earlier claim of that name.
func (m *Manager) checkNew(r *record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.claims {
		if c.record.Namespace == r.Namespace && c.record.Name == r.Name && c.record.UID != r.UID {
			return fmt.Errorf("old ResourceClaim with same name %s and different UID %s still exists (previous pod force-deleted?!)", r.Name, c.record.UID)
		}
	}
	if c := m.claims[r.UID]; c != nil && c.prepared {
		return nil
	}
	for _, d := range r.Drivers {
		if !d.SkipPrepare && len(m.drivers[d.Name]) == 0 {
			return notRegistered(d.Name)
		}
	}
	return nil
}

func notRegistered(driver string) error {
	return fmt.Errorf("DRA driver %s is not registered", driver)
}

// prepareClaim has a claim prepared for a pod, unless it is already.
func (m *Manager) prepareClaim(ctx context.Context, podUID string, read *record) error {
	c, release, err := m.acquire(ctx, read.UID, read)
	if err != nil {
		return err
	}
	defer release()
	r, prepared := m.recordOf(c)
	if !slices.Contains(r.Pods, podUID) {
		r = r.with(podUID)
		if err := m.set(ctx, c, r); err != nil {
			return err
		}
	}
	if prepared {
		return nil
	}
	r.Drivers = slices.Clone(r.Drivers)
	for i := range r.Drivers {
		d := &r.Drivers[i]
		if d.SkipPrepare {
			m.metrics.prepareSkips.WithLabelValues(d.Name).Inc()
			continue
		}
		if d.Devices, err = m.callPrepare(ctx, d.Name, r); err != nil {
			return err
		}
	}
	r.Prepared = true
	if err := m.set(ctx, c, r); err != nil {
		return err
	}
	m.setPrepared(c, true)
	return nil
}

// Unprepare ends the use of claims by a pod of which no process is left. A claim that no
// other pod uses is unprepared by its drivers. A driver that fails keeps no other claim from
// that. It may be called for any pod, and again.
func (m *Manager) Unprepare(ctx context.Context, podUID string) error {
	began := time.Now()
	m.mu.Lock()
	used := m.usedLocked(podUID)
	m.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	var errs []error
	for _, uid := range used {
		errs = append(errs, m.unprepareClaim(ctx, podUID, uid))
	}
	err := errors.Join(errs...)
	m.observe("UnprepareResources", began, err)
	if err != nil {
		return fmt.Errorf("unprepare dynamic resources: %w", err)
	}
	return nil
}

func (m *Manager) unprepareClaim(ctx context.Context, podUID, claimUID string) error {
	c, release, err := m.acquire(ctx, claimUID, nil)
	if err != nil || c == nil {
		return err
	}
	defer release()
	r, _ := m.recordOf(c)
	if !slices.Contains(r.Pods, podUID) {
		return nil
	}
	if len(r.Pods) == 1 {
		// The next pod that uses the claim has it prepared again, even if a driver fails here.
		m.setPrepared(c, false)
		var errs []error
		for _, d := range r.Drivers {
			if d.SkipUnprepare {
				m.metrics.unprepareSkips.WithLabelValues(d.Name).Inc()
				continue
			}
			errs = append(errs, m.callUnprepare(ctx, d.Name, r))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return m.set(ctx, c, r.without(podUID))
}
