package dra

import (
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// The messages of k8s.io/kubelet/pkg/apis/dra/v1 (api.proto). v1beta1 has the same numbers,
// without Device.share_id.

// claimsRequest is a NodePrepareResourcesRequest or a NodeUnprepareResourcesRequest for one
// claim.
func claimsRequest(r record) protomsg.Message {
	var claim, m protomsg.Message
	claim.Text(1, r.Namespace)
	claim.Text(2, r.UID)
	claim.Text(3, r.Name)
	m.Part(1, claim)
	return m
}

// readEntry reads the answer for a claim from a NodePrepareResourcesResponse or a
// NodeUnprepareResourcesResponse. operation is its name in errors.
func readEntry(operation string, data []byte, r record) (entry []byte, err error) {
	found := false
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number != 1 {
			return nil
		}
		var uid string
		var value []byte
		err := protomsg.EachField(f.Bytes, func(f protomsg.Field) error {
			switch f.Number {
			case 1:
				uid = string(f.Bytes)
			case 2:
				value = f.Bytes
			}
			return nil
		})
		if err != nil {
			return err
		}
		if uid != r.UID {
			return fmt.Errorf("%s returned result for unknown claim UID %s", operation, uid)
		}
		found, entry = true, value
		return nil
	})
	if errors.Is(err, protomsg.ErrWire) {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	if err == nil && !found {
		err = fmt.Errorf("%s skipped 1 ResourceClaims", operation)
	}
	return entry, err
}

// failure is the error in an answer for a claim, a string with that number.
func failure(operation string, entry []byte, number int32, r record) error {
	text := ""
	err := protomsg.EachField(entry, func(f protomsg.Field) error {
		if int32(f.Number) == number {
			text = string(f.Bytes)
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", operation, err)
	case text != "":
		return fmt.Errorf("%s failed for ResourceClaim %s: %s", operation, r.Name, text)
	}
	return nil
}

// readDevices reads a NodePrepareResourceResponse.
func readDevices(operation string, entry []byte, r record) ([]Device, error) {
	if err := failure(operation, entry, 2, r); err != nil {
		return nil, err
	}
	count, small := 0, false
	err := protomsg.EachField(entry, func(f protomsg.Field) error {
		if f.Number == 1 {
			count++
			small = small || len(f.Bytes) < minDevice
		}
		return nil
	})
	if err != nil || count == 0 {
		return nil, err
	}
	if small { // before anything is allocated for them
		return nil, fmt.Errorf("%s: a device of ResourceClaim %s has no pool_name or no device_name", operation, r.Name)
	}
	devices := make([]Device, 0, count)
	err = protomsg.EachField(entry, func(f protomsg.Field) error {
		if f.Number != 1 {
			return nil
		}
		d, err := readDevice(f.Bytes)
		if err == nil && (d.Pool == "" || d.Name == "") {
			err = fmt.Errorf("%s: a device of ResourceClaim %s has no pool_name or no device_name", operation, r.Name)
		}
		devices = append(devices, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return devices, nil
}

// minDevice is the size of the smallest Device that has the fields that it must have.
const minDevice = 6

func readDevice(data []byte) (Device, error) {
	var d Device
	var requests, cdi int
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			requests++
		case 2:
			d.Pool = string(f.Bytes)
		case 3:
			d.Name = string(f.Bytes)
		case 4:
			cdi++
		case 5:
			d.ShareID = string(f.Bytes)
		}
		return nil
	})
	if err != nil {
		return Device{}, err
	}
	d.Requests, d.CDI = make([]string, 0, requests), make([]string, 0, cdi)
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			d.Requests = append(d.Requests, string(f.Bytes))
		case 4:
			d.CDI = append(d.CDI, string(f.Bytes))
		}
		return nil
	})
	return d, err
}
