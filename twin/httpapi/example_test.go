package httpapi_test

import (
	"errors"
	"net/http"
	"strings"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/httpapi"
)

func Example() {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		panic(err)
	}
	api, err := httpapi.New(httpapi.Config{Engine: engine, Authorize: func(_ *http.Request, device string, action httpapi.Action) error {
		if action == httpapi.Set && !strings.HasPrefix(device, "plant/") {
			return errors.New("only devices of the plant may be set")
		}
		return nil
	}})
	if err != nil {
		panic(err)
	}
	_ = http.Server{Addr: "127.0.0.1:8080", Handler: api} // the caller runs it, and engine.Run
}
