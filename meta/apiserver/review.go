package apiserver

import (
	"encoding/json"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/edgekit/edgekit/meta/apiserver/internal/rbac"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Reviews are questions that clients ask about themselves; the node answers
// them: "kubectl auth can-i" and "kubectl auth whoami".

func reviewGroups() []schema.GroupVersion {
	return []schema.GroupVersion{authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion}
}

func addReviews(add func(schema.GroupVersion, ...runtime.Object)) {
	add(authenticationv1.SchemeGroupVersion, &authenticationv1.SelfSubjectReview{})
	add(authorizationv1.SchemeGroupVersion, &authorizationv1.SelfSubjectAccessReview{}, &authorizationv1.SelfSubjectRulesReview{})
}

func addReviewResources(list *metav1.APIResourceList, gv schema.GroupVersion) *metav1.APIResourceList {
	add := func(name, kind string) {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name, SingularName: name[:len(name)-1], Kind: kind, Verbs: metav1.Verbs{"create"}})
	}
	switch gv {
	case authenticationv1.SchemeGroupVersion:
		add("selfsubjectreviews", "SelfSubjectReview")
	case authorizationv1.SchemeGroupVersion:
		add("selfsubjectaccessreviews", "SelfSubjectAccessReview")
		add("selfsubjectrulesreviews", "SelfSubjectRulesReview")
	}
	return list
}

type reviewer func(s *Server, w http.ResponseWriter, r *http.Request, who Identity) error

// reviewOf returns the handler of a request that is a review.
func reviewOf(q request) reviewer {
	if q.verb != "create" || q.version != "v1" {
		return nil
	}
	switch q.group + "/" + q.resource {
	case "authentication.k8s.io/selfsubjectreviews":
		return (*Server).reviewSelf
	case "authorization.k8s.io/selfsubjectaccessreviews":
		return (*Server).reviewAccess
	case "authorization.k8s.io/selfsubjectrulesreviews":
		return (*Server).reviewRules
	}
	return nil
}

// answer writes a review that was filled in.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, obj runtime.Object) error {
	f, ok := negotiate(r.Header.Get("Accept"), true)
	if !ok {
		return notAcceptable()
	}
	s.codec.write(w, f.media, http.StatusCreated, obj)
	return nil
}

func (s *Server) reviewSelf(w http.ResponseWriter, r *http.Request, who Identity) error {
	review := &authenticationv1.SelfSubjectReview{}
	if err := s.readBody(w, r, review); err != nil {
		return err
	}
	review.Status.UserInfo = authenticationv1.UserInfo{Username: who.User, UID: who.UID, Groups: who.Groups, Extra: map[string]authenticationv1.ExtraValue{}}
	for k, v := range who.Extra {
		review.Status.UserInfo.Extra[k] = v
	}
	return s.answer(w, r, review)
}

func (s *Server) reviewAccess(w http.ResponseWriter, r *http.Request, who Identity) error {
	review := &authorizationv1.SelfSubjectAccessReview{}
	if err := s.readBody(w, r, review); err != nil {
		return err
	}
	var q rbac.Question
	switch spec := review.Spec; {
	case spec.ResourceAttributes != nil:
		a := spec.ResourceAttributes
		q = rbac.Question{Verb: a.Verb, Group: a.Group, Resource: a.Resource, Namespace: a.Namespace, Name: a.Name}
		if a.Subresource != "" {
			q.Resource += "/" + a.Subresource
		}
	case spec.NonResourceAttributes != nil:
		q = rbac.Question{Verb: spec.NonResourceAttributes.Verb, Path: spec.NonResourceAttributes.Path}
	default:
		return badRequest("spec needs resourceAttributes or nonResourceAttributes")
	}
	ok, err := s.allowed(r.Context(), who, q)
	if err != nil {
		return err
	}
	review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: ok, Reason: "by the RBAC rules that this node has received"}
	if who.node {
		review.Status.Reason = "the node's administrator may read everything on the node; the cloud authorizes writes"
	}
	return s.answer(w, r, review)
}

func (s *Server) reviewRules(w http.ResponseWriter, r *http.Request, who Identity) error {
	review := &authorizationv1.SelfSubjectRulesReview{}
	if err := s.readBody(w, r, review); err != nil {
		return err
	}
	rules, err := s.policy.current(r.Context())
	if err != nil {
		return err
	}
	status := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	if who.node {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"*"}, Resources: []string{"*"}})
		status.Incomplete = true
	}
	for _, rule := range rules.Rules(rbac.User{Name: who.User, Groups: who.Groups}, review.Spec.Namespace) {
		if len(rule.Resources) > 0 {
			status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	review.Status = status
	return s.answer(w, r, review)
}

// readBody reads a request's body into obj.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, obj runtime.Object) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	return s.decodeBody(r.Header.Get("Content-Type"), body, obj)
}

// decodeBody reads JSON, YAML or protobuf, of obj's kind.
func (s *Server) decodeBody(contentType string, body []byte, obj runtime.Object) error {
	gvks, _, err := s.catalog.scheme.ObjectKinds(obj)
	if err != nil {
		return err
	}
	var decoder runtime.Decoder = s.codec.json
	switch mediaOf(contentType) {
	case runtime.ContentTypeProtobuf:
		decoder = s.codec.proto
	case runtime.ContentTypeYAML:
		if body, err = s.fromYAML(body); err != nil {
			return badRequest("body: %v", err)
		}
	case runtime.ContentTypeJSON, "":
		if len(body) > 0 && json.Valid(body) {
			break
		}
		return badRequest("body is no JSON")
	default:
		return unsupportedMedia(contentType)
	}
	if decoder == s.codec.proto {
		if err := s.checkProtobuf(body); err != nil {
			return err
		}
	}
	if decoder == s.codec.json {
		if err := jsonlimit.Check(body, obj); err != nil {
			return badRequest("body: %v", err)
		}
	}
	got, _, err := decoder.Decode(body, &gvks[0], obj)
	if err != nil {
		return badRequest("body: %v", err)
	}
	if got != obj {
		return badRequest("body is of another kind than %s", gvks[0].Kind)
	}
	return nil
}
