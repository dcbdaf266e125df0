package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/central-ops/central-ops/services/agent/internal/standin"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// One trace id runs from the Runtime's header over the agent's spans to the Gateway, and no span holds
// what was said.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	for name, header := range map[string][]string{
		"traceparent":     {"traceparent", "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"},
		"X-Amzn-Trace-Id": {"X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bodies := make(chan []byte, 16)
			collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err == nil && r.URL.Path == "/v1/traces" && r.Header.Get("Authorization") == "" {
					bodies <- body
				}
				w.Header().Set("Content-Type", "application/x-protobuf")
			}))
			defer collector.Close()
			b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, query("a"), say("MODELWORDS"))}}, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
			b.ask("PROMPTWORDS", append(header, "WorkloadAccessToken", "WORKLOADTOKEN", "Baggage", "person=alice")...)
			b.stop()
			close(bodies)

			const traceID = "5759e988bd862e3fe1be46a994272793"
			names := make(map[string]int)
			for body := range bodies {
				for _, secret := range []string{"PROMPTWORDS", "MODELWORDS", "DescribeInstances", "i-1", "WORKLOADTOKEN", secretKey, strings.Split(token("alice"), ".")[1]} {
					if bytes.Contains(body, []byte(secret)) {
						t.Errorf("a span holds %s", secret)
					}
				}
				var request coltrace.ExportTraceServiceRequest
				if err := proto.Unmarshal(body, &request); err != nil {
					t.Fatal(err)
				}
				for _, resource := range request.ResourceSpans {
					for _, scope := range resource.ScopeSpans {
						for _, span := range scope.Spans {
							names[span.Name]++
							if got := hex.EncodeToString(span.TraceId); got != traceID {
								t.Errorf("span %s has trace %s, want %s", span.Name, got, traceID)
							}
						}
					}
				}
			}
			for name, count := range map[string]int{"POST /invocations": 1, "tools/list": 1, "chat us.anthropic.claude-sonnet-5": 2, "execute_tool bridge___query": 1} {
				if names[name] != count {
					t.Errorf("%d spans %q, want %d; all: %v", names[name], name, count, names)
				}
			}
			if got := b.gateway.Calls()[0].Header.Get("Traceparent"); !strings.HasPrefix(got, "00-"+traceID) {
				t.Errorf("the Gateway got traceparent %q", got)
			}
			if got := b.gateway.Calls()[0].Header.Get("Baggage"); got != "" {
				t.Errorf("the Gateway got baggage %q: only the trace context goes out", got)
			}
			if !strings.Contains(b.logs.String(), `"trace_id":"`+traceID+`"`) {
				t.Error("the log does not name the trace")
			}
		})
	}
}

// CloudWatch's endpoint gets each export signed for the service xray, in the Region of its name.
func TestTracesForAWSAreSigned(t *testing.T) {
	t.Parallel()
	const host = "xray.eu-west-1.amazonaws.com"
	type export struct {
		request *http.Request
		body    []byte
	}
	exports := make(chan export, 16)
	certificate, file := certify(t, host)
	cloudwatch := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			exports <- export{r, body}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	cloudwatch.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	cloudwatch.StartTLS()
	defer cloudwatch.Close()
	// The name leads to the server by a proxy, as no test may change what names mean.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != host+":443" {
			t.Errorf("the agent asked the proxy for %s %s", r.Method, r.Host)
			return
		}
		tunnel(t, w, cloudwatch.Listener.Addr().String())
	}))
	defer proxy.Close()

	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, say("done"))}},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://"+host+"/v1/traces", "HTTPS_PROXY="+proxy.URL, "SSL_CERT_FILE="+file)
	b.ask("hello")
	b.stop()
	close(exports)
	seen := 0
	for each := range exports {
		seen++
		got := each.request.Header.Get("Authorization")
		at, err := time.Parse("20060102T150405Z", each.request.Header.Get("X-Amz-Date"))
		if err != nil {
			t.Fatal(err)
		}
		// The same request, signed again, has the same signature.
		again, err := http.NewRequestWithContext(t.Context(), each.request.Method, "https://"+host+each.request.URL.Path, bytes.NewReader(each.body))
		if err != nil {
			t.Fatal(err)
		}
		_, signed, _ := strings.Cut(got, "SignedHeaders=")
		signed, _, _ = strings.Cut(signed, ",")
		for name := range strings.SplitSeq(signed, ";") {
			if values := each.request.Header.Values(name); len(values) > 0 {
				again.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
		sum := sha256.Sum256(each.body)
		credentials := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secretKey}
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, again, hex.EncodeToString(sum[:]), "xray", "eu-west-1", at); err != nil {
			t.Fatal(err)
		}
		if want := again.Header.Get("Authorization"); got != want || each.request.URL.Path != "/v1/traces" {
			t.Errorf("%s came with\n%s, want\n%s", each.request.URL, got, want)
		}
	}
	if seen == 0 {
		t.Error("no export came")
	}
}

// certify makes a certificate for a host that vouches for itself, and the file of it to trust.
func certify(t *testing.T, host string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "trusted.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// tunnel answers a CONNECT by joining the connection with one to address, until either side ends.
func tunnel(t *testing.T, w http.ResponseWriter, address string) {
	upstream, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer upstream.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		t.Error(err)
		return
	}
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(upstream, buffered); ended <- err }()
	go func() { _, err := io.Copy(client, upstream); ended <- err }()
	<-ended // how a connection ends is not this test's matter
}
