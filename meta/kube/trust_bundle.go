package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// trustBundle is what a node reads of a ClusterTrustBundle of certificates.k8s.io.
type trustBundle struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		SignerName  string `json:"signerName"`
		TrustBundle string `json:"trustBundle"`
	} `json:"spec"`
}

// TrustBundle reads the PEM text of a ClusterTrustBundle as ConfigMap reads a config map.
func (c *Client) TrustBundle(ctx context.Context, name string) (string, error) {
	b, err := readReference[trustBundle](ctx, c, meta.Key{Resource: resources.ClusterTrustBundles, Name: name})
	if err != nil {
		return "", err
	}
	return b.Spec.TrustBundle, nil
}

// TrustBundles gives the PEM texts of the ClusterTrustBundles of a signer that the selector
// matches, as far as the store has them: the cloud sends those that this node's pods ask
// for. A nil selector matches none.
func (c *Client) TrustBundles(ctx context.Context, signer string, selector *metav1.LabelSelector) ([]string, error) {
	matches, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("meta/kube: trust bundles of %s: %w", signer, err)
	}
	records, _, err := c.cfg.Store.List(ctx, meta.Down+resources.ClusterTrustBundles+"/")
	if err != nil {
		return nil, fmt.Errorf("meta/kube: trust bundles of %s: %w", signer, err)
	}
	var out []string
	for _, r := range records {
		var b trustBundle
		o, err := meta.DecodeObject(meta.Down, r)
		if err == nil {
			err = jsonlimit.Unmarshal(o.Body, &b)
		}
		if err != nil {
			return nil, fmt.Errorf("meta/kube: stored trust bundle %s cannot be read: %w", r.Key, err)
		}
		if b.Spec.SignerName == signer && matches.Matches(labels.Set(b.Metadata.Labels)) {
			out = append(out, b.Spec.TrustBundle)
		}
	}
	return out, nil
}
