package peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.Collection;
import java.util.concurrent.atomic.AtomicLong;

import org.eclipse.leshan.core.endpoint.Protocol;
import org.eclipse.leshan.core.observation.CompositeObservation;
import org.eclipse.leshan.core.observation.Observation;
import org.eclipse.leshan.core.observation.SingleObservation;
import org.eclipse.leshan.core.request.ObserveRequest;
import org.eclipse.leshan.core.response.ObserveCompositeResponse;
import org.eclipse.leshan.core.response.ObserveResponse;
import org.eclipse.leshan.server.LeshanServer;
import org.eclipse.leshan.server.LeshanServerBuilder;
import org.eclipse.leshan.server.model.VersionedModelProvider;
import org.eclipse.leshan.server.observation.ObservationListener;
import org.eclipse.leshan.server.registration.Registration;
import org.eclipse.leshan.server.registration.RegistrationListener;
import org.eclipse.leshan.server.registration.RegistrationUpdate;
import org.eclipse.leshan.transport.californium.server.endpoint.CaliforniumServerEndpointsProvider;
import org.eclipse.leshan.transport.californium.server.endpoint.coap.CoapServerProtocolProvider;

import com.sun.management.OperatingSystemMXBean;

/**
 * A Leshan server to compare with: {@code BenchServer PORT [PATH...]}.
 *
 * Every registered client is observed at each PATH. It prints a JSON line when ready, and one with its
 * counts and the CPU time of the process for each line {@code stats} on standard input; {@code quit} ends it.
 */
public final class BenchServer {

    private BenchServer() {
    }

    public static void main(String[] arguments) throws Exception {
        AtomicLong registrations = new AtomicLong();
        AtomicLong updates = new AtomicLong();
        AtomicLong observations = new AtomicLong();
        AtomicLong notifications = new AtomicLong();
        AtomicLong errors = new AtomicLong();

        InetSocketAddress address = new InetSocketAddress(InetAddress.getByName("127.0.0.1"),
                Integer.parseInt(arguments[0]));
        LeshanServer server = new LeshanServerBuilder()
                .setObjectModelProvider(new VersionedModelProvider(Models.all()))
                .setEndpointsProviders(new CaliforniumServerEndpointsProvider.Builder(new CoapServerProtocolProvider())
                        .addEndpoint(address, Protocol.COAP).build())
                .build();

        server.getRegistrationService().addListener(new RegistrationListener() {
            @Override
            public void registered(Registration registration, Registration previous,
                    Collection<Observation> previousObservations) {
                registrations.incrementAndGet();
                for (int i = 1; i < arguments.length; i++) {
                    server.send(registration, new ObserveRequest(arguments[i]),
                            response -> observations.incrementAndGet(), error -> errors.incrementAndGet());
                }
            }

            @Override
            public void updated(RegistrationUpdate update, Registration updated, Registration previous) {
                updates.incrementAndGet();
            }

            @Override
            public void unregistered(Registration registration, Collection<Observation> gone, boolean expired,
                    Registration newer) {
                // not counted
            }
        });
        server.getObservationService().addListener(new ObservationListener() {
            @Override
            public void newObservation(Observation observation, Registration registration) {
                // counted by the answer to Observe
            }

            @Override
            public void cancelled(Observation observation) {
                // not counted
            }

            @Override
            public void onResponse(SingleObservation observation, Registration registration, ObserveResponse answer) {
                notifications.incrementAndGet();
            }

            @Override
            public void onResponse(CompositeObservation observation, Registration registration,
                    ObserveCompositeResponse answer) {
                notifications.incrementAndGet();
            }

            @Override
            public void onError(Observation observation, Registration registration, Exception error) {
                errors.incrementAndGet();
            }
        });

        server.start();
        Lines.print("ready", "coap", server.getEndpoint(Protocol.COAP).getURI().getPort());
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null && !line.equals("quit"); line = input.readLine()) {
            Lines.print("stats", "registrations", registrations.get(), "updates", updates.get(), "observations",
                    observations.get(), "notifications", notifications.get(), "errors", errors.get(), "cpu_ms",
                    system.getProcessCpuTime() / 1_000_000, "heap_bytes",
                    Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory());
        }
        server.destroy();
        System.exit(0);
    }
}
