package apiserver

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// selector selects objects of a resource by labels and fields.
type selector struct {
	labels labels.Selector
	fields fields.Selector
}

// maxSelector bounds the text of a selector.
const maxSelector = 16 << 10

func parseSelector(res *served, byLabel, byField, name string) (selector, error) {
	s := selector{labels: labels.Everything(), fields: fields.Everything()}
	if len(byLabel) > maxSelector || len(byField) > maxSelector {
		return s, badRequest("a selector has more than %d bytes", maxSelector)
	}
	var err error
	if byLabel != "" {
		if s.labels, err = labels.Parse(byLabel); err != nil {
			return s, badRequest("labelSelector: %v", err)
		}
	}
	if byField != "" {
		if s.fields, err = fields.ParseSelector(byField); err != nil {
			return s, badRequest("fieldSelector: %v", err)
		}
		known := fieldsOf(res, nil)
		for _, want := range s.fields.Requirements() {
			if _, ok := known[want.Field]; !ok {
				return s, badRequest("fieldSelector: %q is not a known field selector of %s: use metadata.name or labels", want.Field, res.Name)
			}
		}
	}
	if name != "" { // a watch of one object
		s.fields = fields.AndSelectors(s.fields, fields.OneTermEqualSelector("metadata.name", name))
	}
	return s, nil
}

func (s selector) everything() bool { return s.labels.Empty() && s.fields.Empty() }

func (s selector) matches(it item) bool {
	if !s.labels.Empty() && !s.labels.Matches(labels.Set(it.GetLabels())) {
		return false
	}
	return s.fields.Empty() || s.fields.Matches(fieldsOf(nil, it.object))
}

// fieldsOf returns the selectable fields of an object, or, with a nil obj, of the
// resource. They are those that kube-apiserver supports.
func fieldsOf(res *served, obj object) fields.Set {
	if obj == nil {
		// The kind's zero value has all of the names.
		switch res.kind() {
		case corev1.SchemeGroupVersion.WithKind("Pod"):
			obj = &corev1.Pod{}
		case corev1.SchemeGroupVersion.WithKind("Node"):
			obj = &corev1.Node{}
		case corev1.SchemeGroupVersion.WithKind("Service"):
			obj = &corev1.Service{}
		case corev1.SchemeGroupVersion.WithKind("Secret"):
			obj = &corev1.Secret{}
		case corev1.SchemeGroupVersion.WithKind("Event"):
			obj = &corev1.Event{}
		default:
			obj = &corev1.ConfigMap{}
		}
	}
	set := fields.Set{"metadata.name": obj.GetName(), "metadata.namespace": obj.GetNamespace()}
	switch o := obj.(type) {
	case *corev1.Pod:
		set["spec.nodeName"] = o.Spec.NodeName
		set["spec.restartPolicy"] = string(o.Spec.RestartPolicy)
		set["spec.schedulerName"] = o.Spec.SchedulerName
		set["spec.serviceAccountName"] = o.Spec.ServiceAccountName
		set["spec.hostNetwork"] = strconv.FormatBool(o.Spec.HostNetwork)
		set["status.phase"] = string(o.Status.Phase)
		set["status.podIP"] = o.Status.PodIP
		set["status.nominatedNodeName"] = o.Status.NominatedNodeName
	case *corev1.Node:
		set["spec.unschedulable"] = strconv.FormatBool(o.Spec.Unschedulable)
	case *corev1.Service:
		set["spec.clusterIP"] = o.Spec.ClusterIP
		set["spec.type"] = string(o.Spec.Type)
	case *corev1.Secret:
		set["type"] = string(o.Type)
	case *corev1.Event:
		set["involvedObject.kind"] = o.InvolvedObject.Kind
		set["involvedObject.namespace"] = o.InvolvedObject.Namespace
		set["involvedObject.name"] = o.InvolvedObject.Name
		set["involvedObject.uid"] = string(o.InvolvedObject.UID)
		set["involvedObject.apiVersion"] = o.InvolvedObject.APIVersion
		set["involvedObject.resourceVersion"] = o.InvolvedObject.ResourceVersion
		set["involvedObject.fieldPath"] = o.InvolvedObject.FieldPath
		set["reason"] = o.Reason
		set["reportingComponent"] = o.ReportingController
		set["source"] = o.Source.Component
		set["type"] = o.Type
	}
	return set
}
