package weir;

import java.lang.reflect.Method;
import java.net.HttpURLConnection;
import java.net.URL;
import org.apache.skywalking.apm.agent.core.context.CarrierItem;
import org.apache.skywalking.apm.agent.core.context.ContextCarrier;
import org.apache.skywalking.apm.agent.core.context.ContextManager;
import org.apache.skywalking.apm.agent.core.context.trace.AbstractSpan;
import org.apache.skywalking.apm.agent.core.context.trace.SpanLayer;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.enhance.EnhancedInstance;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.enhance.InstanceMethodsAroundInterceptor;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.enhance.MethodInterceptResult;
import org.apache.skywalking.apm.network.trace.component.ComponentsDefine;

/** An exit span around a request to another service. */
public class Exit implements InstanceMethodsAroundInterceptor {
    @Override
    public void beforeMethod(EnhancedInstance shop, Method method, Object[] arguments, Class<?>[] types,
            MethodInterceptResult result) {
        HttpURLConnection connection = (HttpURLConnection) arguments[0];
        URL url = connection.getURL();
        ContextCarrier carrier = new ContextCarrier();
        AbstractSpan span = ContextManager.createExitSpan(url.getPath(), carrier, url.getHost() + ":" + url.getPort());
        span.setComponent(ComponentsDefine.HTTPCLIENT);
        SpanLayer.asHttp(span);
        for (CarrierItem item = carrier.items(); item.hasNext();) {
            item = item.next();
            connection.setRequestProperty(item.getHeadKey(), item.getHeadValue());
        }
    }

    @Override
    public Object afterMethod(EnhancedInstance shop, Method method, Object[] arguments, Class<?>[] types, Object returned) {
        ContextManager.stopSpan();
        return returned;
    }

    @Override
    public void handleMethodException(EnhancedInstance shop, Method method, Object[] arguments, Class<?>[] types,
            Throwable thrown) {
        ContextManager.activeSpan().log(thrown);
    }
}
