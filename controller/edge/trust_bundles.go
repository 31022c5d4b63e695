package edge

import (
	"context"
	"encoding/base64"
	"maps"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// bundleSelections is the resource of keys that stand for trust bundles that a pod selects
// by signer and labels. Such a key leads to the bundles that match, and is never sent to a
// node. A pod may select what does not exist yet.
const bundleSelections = "clustertrustbundles/selection"

// maxSelector is the length of the longest label selector, as the kubelet has it.
const maxSelector = 100 << 10

// addSelections adds the keys of the trust bundles that a pod selects.
func addSelections(keys map[hub.Key]struct{}, pod *corev1.Pod) {
	for i := range pod.Spec.Volumes {
		p := pod.Spec.Volumes[i].Projected
		if p == nil {
			continue
		}
		for _, source := range p.Sources {
			b := source.ClusterTrustBundle
			if b == nil || b.SignerName == nil || *b.SignerName == "" || b.LabelSelector == nil {
				continue
			}
			// The API server has checked the selector.
			labels, err := metav1.LabelSelectorAsSelector(b.LabelSelector)
			if err != nil || len(labels.String()) > maxSelector {
				continue
			}
			name := base64.RawURLEncoding.EncodeToString([]byte(*b.SignerName + "\n" + labels.String()))
			keys[hub.Key{Resource: bundleSelections, Name: name}] = struct{}{}
		}
	}
}

// selectionOptions are what the name of a selection selects.
func selectionOptions(name string) metav1.ListOptions {
	text, _ := base64.RawURLEncoding.DecodeString(name) // addSelections made it
	signer, labels, _ := strings.Cut(string(text), "\n")
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.signerName", signer).String(), LabelSelector: labels}
}

// selectionStore follows the trust bundles of one selection.
type selectionStore struct {
	*cache.Store[*certificatesv1.ClusterTrustBundle]
}

func (selectionStore) load(string) (metav1.Object, string, bool) { return nil, "", false }
func (selectionStore) version() (string, bool)                   { return "", false }

// watchSelection makes the cache of a selection, as one of the nodes that need it.
func (c *Controller) watchSelection(name string, as func(context.Context) (context.Context, error), changed func()) objectStore {
	lw := listWatch(as, selectionOptions(name), c.cfg.NodeClient, c.cfg.NodeClient.CertificatesV1().ClusterTrustBundles())
	return selectionStore{newStore(cache.Config[*certificatesv1.ClusterTrustBundle]{
		ListWatch: lw, Type: &certificatesv1.ClusterTrustBundle{}, Logger: c.cfg.Logger,
	}, changed)}
}

// selectedLocked gives the keys and those of the trust bundles that selections among them
// lead to, as far as the watches have seen them.
func (c *Controller) selectedLocked(keys map[hub.Key]struct{}) map[hub.Key]struct{} {
	all := keys
	for key := range keys {
		if key.Resource != bundleSelections || c.refs[key] == nil {
			continue
		}
		store, ok := c.refs[key].store.(selectionStore)
		if !ok {
			continue
		}
		for _, name := range store.Names() {
			if len(all) == len(keys) {
				all = maps.Clone(keys)
			}
			all[hub.Key{Resource: resources.ClusterTrustBundles, Name: name.Name}] = struct{}{}
		}
	}
	return all
}

// selectedLive is selectedLocked with what the API server has now, read as the node.
func (c *Controller) selectedLive(ctx context.Context, node string, keys map[hub.Key]struct{}) (map[hub.Key]struct{}, error) {
	all := maps.Clone(keys)
	for key := range keys {
		if key.Resource != bundleSelections {
			continue
		}
		list, err := c.cfg.NodeClient.CertificatesV1().ClusterTrustBundles().List(impersonate.With(ctx, node), selectionOptions(key.Name))
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			all[hub.Key{Resource: resources.ClusterTrustBundles, Name: list.Items[i].Name}] = struct{}{}
		}
	}
	return all, nil
}
