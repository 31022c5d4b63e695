package dra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// area is where the store has the records: each below the uid of its claim.
const area = meta.Local + "dra/claims/"

// record is what is kept of a claim.
type record struct {
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	UID       string         `json:"uid"`
	Pods      []string       `json:"pods"` // uids of those that use it
	Drivers   []driverRecord `json:"drivers"`
	// Prepared says that the devices are all that the drivers answered. It may have been in
	// an earlier life of the program.
	Prepared bool `json:"prepared,omitempty"`
}

// driverRecord is the part of a claim that one driver looks after.
type driverRecord struct {
	Name string `json:"name"`
	// The driver need not be called to prepare, to unprepare the claim (KEP-5491).
	SkipPrepare   bool     `json:"skipPrepare,omitempty"`
	SkipUnprepare bool     `json:"skipUnprepare,omitempty"`
	Devices       []Device `json:"devices,omitempty"`
}

func (r record) view() Claim {
	out := Claim{Namespace: r.Namespace, Name: r.Name, UID: r.UID}
	for _, d := range r.Drivers {
		for _, device := range d.Devices {
			device.Driver = d.Name
			out.Devices = append(out.Devices, device)
		}
	}
	return out
}

// without is the record without a pod.
func (r record) without(podUID string) record {
	r.Pods = slices.DeleteFunc(slices.Clone(r.Pods), func(uid string) bool { return uid == podUID })
	return r
}

// with is the record with a pod.
func (r record) with(podUID string) record {
	r.Pods = append(slices.Clip(r.Pods), podUID)
	return r
}

func writeRecord(ctx context.Context, store meta.Store, r record) error {
	op := meta.Op{Key: area + r.UID, Delete: len(r.Pods) == 0}
	if !op.Delete {
		var err error
		if op.Value, err = json.Marshal(r); err != nil {
			return fmt.Errorf("dra: ResourceClaim %s: %w", r.Name, err)
		}
	}
	if _, err := store.Apply(ctx, op); err != nil {
		return fmt.Errorf("dra: keep the state of ResourceClaim %s: %w", r.Name, err)
	}
	return nil
}

func readRecords(ctx context.Context, store meta.Store, log *slog.Logger) ([]record, error) {
	all, _, err := store.List(ctx, area)
	if err != nil {
		return nil, fmt.Errorf("dra: read the state of resource claims: %w", err)
	}
	var out []record
	for _, kept := range all {
		r, err := decodeRecord(kept.Value)
		if err == nil && area+r.UID != kept.Key {
			err = fmt.Errorf("it is of claim %q", r.UID)
		}
		if err != nil {
			log.Error("the state of a resource claim is damaged; its driver may keep devices for it", "key", kept.Key, "err", err)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

func decodeRecord(data []byte) (record, error) {
	var r record
	if err := jsonlimit.Unmarshal(data, &r); err != nil {
		return record{}, err
	}
	if r.UID == "" || r.Name == "" || r.Namespace == "" || len(r.Pods) == 0 {
		return record{}, errors.New("uid, name, namespace or pods is empty")
	}
	return r, nil
}
