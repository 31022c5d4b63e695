package groups

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

// place binds a copy's pods to the nodes of its target, besides what the template asks of nodes.
func place(u *unstructured.Unstructured, k *kind, t *target) error {
	tpl, err := template(u, k)
	if err != nil {
		return err
	}
	spec, err := child(tpl, "spec")
	if err != nil {
		return err
	}
	if len(t.selector) > 0 {
		selector, err := child(spec, "nodeSelector")
		if err != nil {
			return err
		}
		for key, value := range t.selector {
			selector[key] = value
		}
	}
	if len(t.affinity) == 0 && t.node == "" {
		return nil
	}
	required := spec
	for _, field := range []string{"affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"} {
		if required, err = child(required, field); err != nil {
			return err
		}
	}
	terms, ok := required["nodeSelectorTerms"].([]any)
	if !ok && required["nodeSelectorTerms"] != nil {
		return fmt.Errorf("nodeSelectorTerms is not a list")
	}
	if len(terms) == 0 {
		terms = []any{map[string]any{}}
	}
	for i := range terms { // one of them must hold, so all get the requirements
		term, ok := terms[i].(map[string]any)
		if !ok {
			return fmt.Errorf("nodeSelectorTerms[%d] is not an object", i)
		}
		if err := require(term, "matchExpressions", t.affinity); err != nil {
			return err
		}
		if t.node != "" {
			only := []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{t.node}}}
			if err := require(term, "matchFields", only); err != nil {
				return err
			}
		}
	}
	required["nodeSelectorTerms"] = terms
	return nil
}

// require adds requirements to a term.
func require(term map[string]any, field string, more []corev1.NodeSelectorRequirement) error {
	if len(more) == 0 {
		return nil
	}
	have, ok := term[field].([]any)
	if !ok && term[field] != nil {
		return fmt.Errorf("%s is not a list", field)
	}
	for _, r := range more {
		m, err := plain(r)
		if err != nil {
			return err
		}
		have = append(have, m)
	}
	term[field] = have
	return nil
}

// plain returns a value as JSON has it.
func plain(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}

// siteValue is the value of the site label: a site's name may be longer than a label.
func siteValue(site string) string {
	if len(validation.IsValidLabelValue(site)) == 0 {
		return site
	}
	return copyName(site[:min(len(site), 50)], site, validation.LabelValueMaxLength)
}

// markSite sets the site's label on a copy, its pods and its selector.
func markSite(u *unstructured.Unstructured, k *kind, site string) error {
	value := siteValue(site)
	label(u, v1alpha1.SiteLabel, value)
	tpl, err := template(u, k)
	if err != nil {
		return err
	}
	meta, err := child(tpl, "metadata")
	if err != nil {
		return err
	}
	all, err := child(meta, "labels")
	if err != nil {
		return err
	}
	all[v1alpha1.SiteLabel] = value
	if k.Group != "apps" {
		return nil // the selector of a Job is the API server's
	}
	spec, err := child(u.Object, "spec")
	if err != nil {
		return err
	}
	selector, err := child(spec, "selector")
	if err != nil {
		return err
	}
	match, err := child(selector, "matchLabels")
	if err != nil {
		return err
	}
	match[v1alpha1.SiteLabel] = value
	return nil
}

// unmarkSite removes the site's label from the pods and the selector of a copy that exists
// without: a selector cannot be changed.
func unmarkSite(u *unstructured.Unstructured) {
	unstructured.RemoveNestedField(u.Object, "spec", "selector", "matchLabels", v1alpha1.SiteLabel)
	unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "labels", v1alpha1.SiteLabel)
}

func label(u *unstructured.Unstructured, key, value string) {
	all := u.GetLabels()
	if all == nil {
		all = make(map[string]string)
	}
	all[key] = value
	u.SetLabels(all)
}

func annotate(u *unstructured.Unstructured, key, value string) {
	all := u.GetAnnotations()
	if all == nil {
		all = make(map[string]string)
	}
	all[key] = value
	u.SetAnnotations(all)
}
