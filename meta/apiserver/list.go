package apiserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/meta/apiserver/internal/table"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// get answers the read of one object.
func (s *Server) get(w http.ResponseWriter, r *http.Request, q request, res *served) error {
	f, ok := negotiate(r.Header.Get("Accept"), res.typed)
	if !ok {
		return notAcceptable()
	}
	it, err := s.load(r.Context(), res, res.key(q.namespace, q.name))
	if errors.Is(err, errNotThere) {
		if res.outbox {
			return apierrors.NewNotFound(res.groupResource(), q.name)
		}
		return errNotThere
	}
	if err != nil {
		return err
	}
	switch f.as {
	case asTable:
		t, err := s.table(res, r.URL, []item{it}, true)
		if err != nil {
			return err
		}
		t.ResourceVersion = it.GetResourceVersion()
		s.codec.write(w, f.media, http.StatusOK, t)
	case asMetadata:
		s.codec.write(w, f.media, http.StatusOK, partial(it.object))
	default:
		s.codec.write(w, f.media, http.StatusOK, it.object)
	}
	return nil
}

// listOptions are the parameters of a list or watch.
type listOptions struct {
	selector
	limit int
	from  *continueToken // nil at the start
}

// continueToken says where a list goes on that was cut by its limit. The pages are not one
// snapshot: each is read when it is requested. The whole list has the first page's
// resourceVersion, so a watch from there may repeat what later pages already had.
type continueToken struct {
	Version  int    `json:"v"`
	Revision uint64 `json:"rv"`
	After    string `json:"after"` // the path of the last key that was sent
}

// maxContinue is more than the largest key makes.
const maxContinue = 4 << 10

func (t continueToken) encode() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // two numbers and a string
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseContinue(text string) (continueToken, error) {
	var t continueToken
	if len(text) > maxContinue {
		return t, badRequest("continue is longer than any that this server gives")
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = jsonlimit.Unmarshal(b, &t)
	}
	if err != nil || t.Version != 1 {
		return continueToken{}, badRequest("continue is not one that this server gave: list from the start")
	}
	return t, nil
}

// cloudToken reports whether a continue token has the form of the API server's.
func cloudToken(text string) bool {
	var t struct {
		APIVersion string `json:"v"`
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(text) <= maxContinue && jsonlimit.Unmarshal(b, &t) == nil && t.APIVersion == "meta.k8s.io/v1"
}

func parseListOptions(u *url.URL, q request, res *served) (listOptions, error) {
	var o listOptions
	values := u.Query()
	var err error
	if o.selector, err = parseSelector(res, values.Get("labelSelector"), values.Get("fieldSelector"), q.name); err != nil {
		return o, err
	}
	if text := values.Get("limit"); text != "" {
		if o.limit, err = strconv.Atoi(text); err != nil || o.limit < 0 {
			return o, badRequest("limit %.40q is not a number of objects", text)
		}
	}
	if text := values.Get("continue"); text != "" {
		t, err := parseContinue(text)
		if err != nil && cloudToken(text) {
			return o, apierrors.NewResourceExpired("continue is of a list that the API server made, which is out of reach: list from the start")
		}
		if err != nil {
			return o, err
		}
		o.from = &t
	}
	return o, nil
}

// collection answers a list.
func (s *Server) collection(w http.ResponseWriter, r *http.Request, q request, res *served) error {
	f, ok := negotiate(r.Header.Get("Accept"), res.typed)
	if !ok {
		return notAcceptable()
	}
	o, err := parseListOptions(r.URL, q, res)
	if err != nil {
		return err
	}
	items, revision, _, err := s.listSeen(r.Context(), res, q.namespace)
	if err != nil {
		return err
	}
	if err := checkVersion(r.URL, o, revision); err != nil {
		return err
	}
	items, more := o.page(items)
	listMeta := metav1.ListMeta{ResourceVersion: localVersion(revision)}
	if o.from != nil {
		listMeta.ResourceVersion = localVersion(o.from.Revision)
		revision = o.from.Revision
	}
	if more > 0 {
		listMeta.Continue = continueToken{Version: 1, Revision: revision, After: items[len(items)-1].key.Path()}.encode()
		if o.everything() {
			left := int64(more)
			listMeta.RemainingItemCount = &left
		}
	}
	s.partialAnswer(w, res)
	return s.writeList(w, r.URL, f, res, items, listMeta)
}

// page picks the objects that the options select, and counts the remaining ones.
func (o listOptions) page(items []item) (page []item, more int) {
	for _, it := range items {
		if o.from != nil && it.key.Path() <= o.from.After || !o.matches(it) {
			continue
		}
		if o.limit > 0 && len(page) == o.limit {
			more++
			continue
		}
		page = append(page, it)
	}
	return page, more
}

// checkVersion holds a list's resourceVersion against the store's revision.
// All that is served is the newest, which satisfies everything but an exact
// version of the past.
func checkVersion(u *url.URL, o listOptions, revision uint64) error {
	values := u.Query()
	text := values.Get("resourceVersion")
	if o.from != nil || text == "" || text == "0" {
		return nil
	}
	version, ours, err := parseVersion(text)
	switch {
	case err != nil:
		return err
	case !ours && values.Get("resourceVersionMatch") == string(metav1.ResourceVersionMatchExact):
		return apierrors.NewResourceExpired("the resourceVersion is the API server's, and only the node's own are known here: list without an exact one")
	case !ours:
		return nil
	case version > revision:
		return futureError(revision)
	case values.Get("resourceVersionMatch") == string(metav1.ResourceVersionMatchExact) && version != revision:
		return apierrors.NewResourceExpired("only the newest resourceVersion is kept here: list without an exact one")
	}
	return nil
}

func (s *Server) writeList(w http.ResponseWriter, u *url.URL, f form, res *served, items []item, listMeta metav1.ListMeta) error {
	var list runtime.Object
	switch f.as {
	case asTable:
		t, err := s.table(res, u, items, true)
		if err != nil {
			return err
		}
		t.ListMeta, list = listMeta, t
	case asMetadata:
		l := &metav1.PartialObjectMetadataList{
			TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: metav1.SchemeGroupVersion.String()},
			ListMeta: listMeta, Items: make([]metav1.PartialObjectMetadata, 0, len(items)),
		}
		for _, it := range items {
			l.Items = append(l.Items, *partial(it.object))
		}
		list = l
	default:
		list = s.catalog.newList(res)
		objects := make([]runtime.Object, 0, len(items))
		for _, it := range items {
			objects = append(objects, kindless(it.object, res.typed))
		}
		if err := apimeta.SetList(list, objects); err != nil {
			return err
		}
		access, err := apimeta.ListAccessor(list)
		if err != nil {
			return err
		}
		access.SetResourceVersion(listMeta.ResourceVersion)
		access.SetContinue(listMeta.Continue)
		access.SetRemainingItemCount(listMeta.RemainingItemCount)
	}
	s.codec.write(w, f.media, http.StatusOK, list)
	return nil
}

// table makes the columns that kubectl prints.
func (s *Server) table(res *served, u *url.URL, items []item, withColumns bool) (*metav1.Table, error) {
	include := metav1.IncludeObjectPolicy(u.Query().Get("includeObject"))
	t := table.New(res.Group, res.Kind, withColumns)
	for _, it := range items {
		var shown runtime.Object
		switch include {
		case metav1.IncludeNone:
		case metav1.IncludeObject:
			shown = it.object
		case "", metav1.IncludeMetadata:
			shown = partial(it.object)
		default:
			return nil, badRequest("includeObject %.40q: want None, Metadata or Object", include)
		}
		row := metav1.TableRow{Cells: table.Cells(it.object, s.cfg.Now())}
		row.Object.Object = shown
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}
