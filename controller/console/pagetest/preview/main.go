// Command preview serves the console's page with a made-up fleet, to look at while working on it:
//
//	go run ./preview [address]
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/edgekit/edgekit/controller/console/pagetest"
)

func main() {
	address := "127.0.0.1:8080"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	server := &http.Server{
		Addr:              address,
		Handler:           pagetest.New(pagetest.Config{Page: os.DirFS("../page/dist"), LoggedIn: true}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	fmt.Fprintln(os.Stderr, "http://"+address+"/console/")
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}
