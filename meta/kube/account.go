package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// accountArea holds what is kept of service accounts: accountArea + NAMESPACE/NAME.
const accountArea = meta.Local + "accounts/"

// account is what is kept of a service account: whose images a pod may have is decided by
// the uid, also without a link.
type account struct {
	UID         types.UID         `json:"uid"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ServiceAccount reads a service account of a pod of this node from the cloud. While the
// cloud is out of reach it gives what the cloud said last: the uid and the annotations. An
// error that wraps meta.ErrNotFound, or a refusal of the cloud, ends that.
func (c *Client) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	place := accountArea + namespace + "/" + name
	got, err := readReference[corev1.ServiceAccount](ctx, c, meta.Key{Resource: resources.ServiceAccounts, Namespace: namespace, Name: name})
	known, readErr := c.cfg.Store.Get(ctx, place)
	if readErr != nil && !errors.Is(readErr, meta.ErrNotFound) {
		return nil, errors.Join(err, fmt.Errorf("meta/kube: %w", readErr))
	}
	switch {
	case err == nil:
		value, err := json.Marshal(account{got.UID, got.Annotations})
		if err == nil && (readErr != nil || !bytes.Equal(value, known.Value)) {
			_, err = c.cfg.Store.Apply(ctx, meta.Op{Key: place, Value: value})
		}
		if err != nil {
			c.log.Warn("service account cannot be kept: its images may be missing without a link", "namespace", namespace, "name", name, "err", err)
		}
		return got, nil
	case readErr != nil:
		return nil, err
	case final(err):
		_, removeErr := c.cfg.Store.Apply(ctx, meta.Op{Key: place, Delete: true})
		return nil, errors.Join(err, removeErr)
	}
	var last account
	if jsonlimit.Unmarshal(known.Value, &last) != nil || last.UID == "" {
		return nil, err
	}
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: last.UID, Annotations: last.Annotations}}, nil
}

// sweepAccounts removes what is kept of service accounts that no pod has.
func (c *Client) sweepAccounts(ctx context.Context) error {
	used := make(map[string]bool)
	for _, pod := range c.pods {
		used[accountArea+pod.Namespace+"/"+pod.Spec.ServiceAccountName] = true
	}
	return c.removeRecords(ctx, accountArea, func(key string) bool { return !used[key] })
}
